package main

import (
	"log/slog"
	"os"
	"syscall"

	"github.com/prometheus/procfs"
)

// filePages are the pages of the program's own file that are mapped to be read:
// code and constants.
type filePages struct {
	ranges []*procfs.ProcMap
	log    *slog.Logger
}

// ownPages finds them. Without /proc there are none.
func ownPages(log *slog.Logger) *filePages {
	p := &filePages{log: log}
	self, err := os.Executable()
	if err != nil {
		return p
	}
	process, err := procfs.Self()
	if err != nil {
		return p
	}
	maps, err := process.ProcMaps()
	if err != nil {
		return p
	}
	for _, m := range maps {
		if m.Pathname == self && !m.Perms.Write { // a written page is in no file
			p.ranges = append(p.ranges, m)
		}
	}
	return p
}

// release unmaps the pages. What is needed is mapped again when it is touched; the
// file has it. The rest is most of it: initializers of every package that is
// linked in, those of parts that this run does not use too, leave some 20 MB
// mapped, and serving needs a quarter of that. A failure costs memory and nothing else.
func (p *filePages) release() {
	for _, m := range p.ranges {
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.StartAddr, m.EndAddr-m.StartAddr, syscall.MADV_DONTNEED)
		if errno != 0 {
			p.log.Debug("releasing pages of the program's file", "error", errno)
		}
	}
}
