package main

import (
	"context"
	"log/slog"
	"time"
)

// Pages of the program's file are given back soon after the start, when first
// uses are behind us, and more and more rarely from there on. Each time costs a
// few hundred page faults: a millisecond.
const (
	firstRelease = 2 * time.Second
	rareRelease  = time.Minute
)

// stayLean keeps no more of the program's file mapped than was used lately, until
// ctx ends.
func stayLean(ctx context.Context, log *slog.Logger) {
	for wait := firstRelease; ; wait = min(2*wait, rareRelease) {
		releasePages(log)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
