//go:build !linux

package embeddedtest

import "testing"

// StoreDir returns a directory for a server's store until the end of the test.
func StoreDir(tb testing.TB) string {
	tb.Helper()
	return tb.TempDir()
}
