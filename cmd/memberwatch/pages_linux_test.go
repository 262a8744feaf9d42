package main

import (
	"log/slog"
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
	pages := ownPages(slog.New(slog.DiscardHandler))
	if len(pages.ranges) == 0 {
		t.Fatal("no pages found")
	}
	before := mappedFile(t)
	pages.release()
	after := mappedFile(t)
	t.Logf("%d bytes were mapped, %d still are", before, after)
	if after > before/2 {
		t.Error("they are not given back")
	}
}
