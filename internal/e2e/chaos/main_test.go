package chaos

import (
	"fmt"
	"os"
	"testing"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// binaries are the programs under test, built once.
var binaries stack.Binaries

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if served, err := stack.ServeNATS(); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if os.Getenv("CHAOS") == "" && os.Getenv("SOAK") == "" {
		fmt.Println("CHAOS SKIPPED: make chaos runs it")
		return 0
	}
	var err error
	if binaries, err = stack.Build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer binaries.Remove()
	return m.Run()
}
