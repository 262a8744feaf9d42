//go:build !linux

package main

import "log/slog"

// releaseStart does nothing where there is no /proc to tell what is mapped.
func releaseStart(*slog.Logger) {}
