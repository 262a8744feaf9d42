package main

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releasePages unmaps the pages of the program's own file, code and constants.
// What is needed is mapped again when it is touched; the file has it. The rest is
// most of it: initializers of every package that is linked in, those of parts that
// this run does not use too, leave some 20 MB mapped, and serving needs a quarter
// of that. A failure costs memory and nothing else.
func releasePages(log *slog.Logger) {
	self, err := os.Executable()
	if err != nil {
		return
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer smaps.Close()
	for _, m := range fileMappings(smaps, self) {
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED)
		if errno != 0 {
			log.Debug("releasing pages of the program's file", "error", errno)
		}
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// fileMappings returns the mappings of a file in which no page differs from the
// file, in memory or swapped out. Such a page would be lost: a loader writes some
// and has them protected then, and a debugger writes into code.
func fileMappings(smaps io.Reader, file string) []mapping {
	var found []mapping
	candidate := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case strings.HasSuffix(fields[0], ":"):
			if candidate && (fields[0] == "Anonymous:" || fields[0] == "Swap:") && fields[1] != "0" {
				found, candidate = found[:len(found)-1], false
			}
		default: // address perms offset dev inode path
			var m mapping
			candidate = len(fields) > 5 && strings.Join(fields[5:], " ") == file && !strings.Contains(fields[1], "w") && m.read(fields[0])
			if candidate {
				found = append(found, m)
			}
		}
	}
	if lines.Err() != nil { // what is said of the last one may be missing
		return nil
	}
	return found
}

// read reads a range as /proc writes it.
func (m *mapping) read(text string) bool {
	low, high, _ := strings.Cut(text, "-")
	from, err := strconv.ParseUint(low, 16, strconv.IntSize)
	if err != nil {
		return false
	}
	to, err := strconv.ParseUint(high, 16, strconv.IntSize)
	m.from, m.to = uintptr(from), uintptr(to)
	return err == nil
}
