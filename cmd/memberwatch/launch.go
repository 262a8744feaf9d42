package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// launch is how the program was started, so that commands can be printed that
// work when they are pasted.
type launch struct {
	arg0       string            // as the shell had it
	executable string            // the file, absolute
	starts     func(string) bool // whether this, typed in a shell, runs the same file
	inClone    bool              // whether the source is below the working directory
}

// goRun is where go run puts what it builds: into a temporary directory at first,
// later into its cache (Go 1.24 and newer).
var goRun = regexp.MustCompile(`[/\\]go-build[0-9]*[/\\]|[/\\][0-9a-f]{64}-d[/\\]`)

// thisLaunch looks at the process.
func thisLaunch() launch {
	l := launch{arg0: os.Args[0]}
	l.executable, _ = os.Executable() // Empty is like no file at all.
	l.starts = func(name string) bool {
		found, err := exec.LookPath(name)
		return err == nil && sameFile(found, l.executable)
	}
	_, err := os.Stat(filepath.Join("cmd", "memberwatch", "main.go"))
	l.inClone = err == nil
	return l
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// command is what to type in a shell, in the same directory, to run the program again.
func (l launch) command() string {
	name := filepath.Base(l.arg0)
	switch {
	case l.starts(name):
		return quote(name)
	case l.inClone && goRun.MatchString(l.executable):
		return "go run ./cmd/memberwatch"
	case filepath.Base(l.arg0) != l.arg0 && l.starts(l.arg0):
		return quote(l.arg0)
	case l.executable != "":
		return quote(l.executable)
	}
	return "memberwatch"
}

// harmless is what means nothing else to a shell.
var harmless = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote writes s so that a POSIX shell takes it for one word.
func quote(s string) string {
	if harmless.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
