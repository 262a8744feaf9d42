package main

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/procfs"
)

// mappedFile is how many bytes of files this process has mapped.
func mappedFile(t *testing.T) uint64 {
	t.Helper()
	p, err := procfs.Self()
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return s.RssFile
}

func TestPagesOfTheProgramAreGivenBack(t *testing.T) { //nolint:paralleltest // others would map them again meanwhile
	before := mappedFile(t)
	releasePages(slog.New(slog.DiscardHandler))
	after := mappedFile(t)
	t.Logf("%d bytes were mapped, %d still are", before, after)
	if after > before/2 {
		t.Error("they are not given back")
	}
}

func TestPagesThatWereWrittenAreKept(t *testing.T) {
	t.Parallel()
	const smaps = `00400000-011a1000 r-xp 00000000 fe:00 11108799                           /opt/a program
Rss:                4480 kB
Anonymous:             0 kB
011a1000-02003000 r--p 00da1000 fe:00 11108799                           /opt/a program
Rss:                9916 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
02003000-02004000 r--p 01c03000 fe:00 11108799                           /opt/a program
Rss:                   8 kB
Anonymous:             8 kB
VmFlags: rd mr mw me sd
02004000-02005000 r--p 01c04000 fe:00 11108799                           /opt/a program
Anonymous:             0 kB
Swap:                  4 kB
02005000-020da000 rw-p 01c05000 fe:00 11108799                           /opt/a program
Anonymous:             0 kB
020da000-04121000 rw-p 00000000 00:00 0
Anonymous:           120 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 1                          /lib/a program
Anonymous:             0 kB
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
zz-zz r-xp 00000000 fe:00 11108799                                       /opt/a program
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x11a1000}, {0x11a1000, 0x2003000}}
	if got := fileMappings(strings.NewReader(smaps), "/opt/a program"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
