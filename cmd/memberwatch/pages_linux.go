package main

import (
	"log/slog"
	"os"
	"syscall"

	"github.com/prometheus/procfs"
)

// releaseStart unmaps the pages of the program's own file, code and constants,
// that only the start touched: initializers of every package that is linked in,
// those of parts that this run does not use too, leave some 20 MB mapped of which
// serving needs a quarter. What is needed is mapped again when it is touched; the
// file has it. A failure costs memory and nothing else.
func releaseStart(log *slog.Logger) {
	self, err := os.Executable()
	if err != nil {
		return
	}
	process, err := procfs.Self()
	if err != nil {
		return
	}
	maps, err := process.ProcMaps()
	if err != nil {
		return
	}
	for _, m := range maps {
		if m.Pathname != self || m.Perms.Write { // a written page is in no file
			continue
		}
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, syscall.MADV_DONTNEED)
		if errno != 0 {
			log.Debug("releasing pages of the start", "error", errno)
		}
	}
}
