package embeddedtest

import (
	"os"
	"syscall"
	"testing"
)

// memory is a file system in memory, where there is one.
const memory = "/dev/shm"

// enough is how much memory has to be free for stores: some twenty times what
// those of a whole make test hold at once.
const enough = 256 << 20

// StoreDir returns a directory for a server's store until the end of the test: in
// memory if there is enough, since a server waits for the disk each time that it
// makes a stream or a consumer, and tests make very many.
func StoreDir(tb testing.TB) string {
	tb.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < enough { //nolint:gosec // A block has a size.
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "embeddedtest-") //nolint:usetesting // That would be on disk.
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("removing a store: %v", err)
		}
	})
	return dir
}
