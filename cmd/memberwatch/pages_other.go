//go:build !linux

package main

import "log/slog"

// releasePages does nothing where there is no /proc to tell what is mapped.
func releasePages(*slog.Logger) {}
