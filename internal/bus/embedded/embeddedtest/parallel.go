package embeddedtest

import (
	"flag"
	"strconv"
)

// AtOnce lets n tests of a package run at a time, whatever the number of
// processors, unless the command line says how many. It is for TestMain of a
// package whose tests mostly wait for a server.
func AtOnce(n int) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if chosen {
		return
	}
	if err := flag.Set("test.parallel", strconv.Itoa(n)); err != nil {
		panic(err) // Only outside of a test.
	}
}
