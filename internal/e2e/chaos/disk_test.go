package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// ballast is a file that leaves no room for anything else.
type ballast struct{ path string }

// fill takes all there is on the disk.
func (b ballast) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(b.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
		if size == 1 {
			break
		}
	}
}

func (b ballast) drop(t *testing.T) {
	t.Helper()
	if err := os.Remove(b.path); err != nil {
		t.Fatal(err)
	}
}

// fullDisk has the disk of the embedded server run full, and gives it room again.
func fullDisk(t *scene) {
	const size = 256 << 20
	dir := stack.SmallDisk(t, size)
	s := stack.NewProcesses(t, binaries, stack.StoreIn(filepath.Join(dir, "store")))
	worker := stack.Ready(t, s.Start(t, "worker", quieter()))
	crew := stack.NewCrew(t, s, 1, quieter())
	b := ballast{filepath.Join(dir, "ballast")}
	t.length = 0
	t.under("disk full", s, size2(), func(l *load) {
		refused := l.refused.Load()
		b.fill(t.T)
		stack.Eventually(t, "commands are refused", func() bool { return l.refused.Load() > refused })
		t.between(time.Second, 3*time.Second)
		b.drop(t.T)
		l.flows(t.T)
	})
	t.leave(s, crew)
	if code := stack.Stop(t, worker); code != 0 {
		t.Errorf("the worker with the embedded server ended with code %d", code)
	}
}

func size2() size { return size{members: 200, backlog: 1000} }
