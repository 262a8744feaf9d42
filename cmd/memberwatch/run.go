package main

import (
	"context"
	"fmt"
	"io"

	"github.com/sethvargo/go-envconfig"
)

// run carries out one command line.
func run(ctx context.Context, args []string, lookup envconfig.Lookuper, stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == "serve" {
		return serve(ctx, lookup, stderr)
	}
	return fmt.Errorf("%w: memberwatch serve", errUsage)
}
