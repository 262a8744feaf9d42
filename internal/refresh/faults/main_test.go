package faults

import (
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

func TestMain(m *testing.M) {
	embeddedtest.AtOnce(64)
	goleak.VerifyTestMain(m)
}

func decimal(n int) string { return strconv.Itoa(n) }

// fromEnv returns a number from the environment.
func fromEnv(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}
