package stack

import (
	"fmt"
	"syscall"
	"testing"
)

// SmallDisk returns an empty directory on a file system of so many bytes. It
// skips the test where that may not be mounted: it takes root, or a user
// namespace as "unshare -rm go test …" gives.
func SmallDisk(tb testing.TB, size int) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		tb.Skipf("FULL DISK SKIPPED: mounting a small one: %v; run as root or under unshare -rm", err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}
