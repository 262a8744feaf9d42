package e2e

import (
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

func TestTheImageShowsTheDemo(t *testing.T) {
	containersWanted(t)
	code, output := stack.RunImage(t, "demo")
	if code != 0 || !strings.Contains(output, "every promise kept") {
		t.Errorf("ended with code %d:\n%s", code, output)
	}
}
