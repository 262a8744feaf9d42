//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// tracingOff is what a cycle pays for tracing while it is off, by the benchmark
// beside it. In the times of a whole worker so little would be lost in the noise.
func (b *bench) tracingOff(ctx context.Context) (time.Duration, error) {
	if b.untraced > 0 {
		return b.untraced, nil
	}
	root, err := moduleRoot()
	if err != nil {
		return 0, err
	}
	const name = "BenchmarkTracingOff"
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "./internal/refresh")
	c.Dir = root
	out, err := c.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	for line := range strings.Lines(string(out)) {
		// name-2  19876543  59.1 ns/op
		if f := strings.Fields(line); len(f) >= 4 && strings.HasPrefix(f[0], name) && f[3] == "ns/op" {
			ns, err := strconv.ParseFloat(f[2], 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", name, err)
			}
			b.untraced = time.Duration(ns)
			return b.untraced, nil
		}
	}
	return 0, fmt.Errorf("%w: %s told no time:\n%s", errBroken, name, out)
}
