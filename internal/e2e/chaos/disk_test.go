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

// fullDisk has the disk of the embedded server run full, and gives it room
// again. A store that could not be written takes nothing more until the server
// is started anew, and so the worker that has it is.
func fullDisk(t *scene) {
	const room = 256 << 20
	dir := stack.SmallDisk(t, room)
	s := stack.NewProcesses(t, binaries, stack.StoreIn(filepath.Join(dir, "store")))
	worker := stack.Ready(t, s.Start(t, "worker", laden()))
	crew := stack.NewCrew(t, s, 1, laden())
	b := ballast{filepath.Join(dir, "ballast")}
	t.under("disk full", s, size{members: 200, backlog: 1000}, func(l *load) {
		refused := l.refused.Load()
		b.fill(t.T)
		stack.Eventually(t, "commands are refused", func() bool { return l.refused.Load() > refused })
		t.between(500*time.Millisecond, 3*time.Second)
		t.Logf("readiness while the disk is full: %+v", stack.HealthOf(t, worker))
		b.drop(t.T)
		worker.Signal(t, syscall.SIGTERM)
		worker.Wait(t)
		worker = stack.Ready(t, s.Start(t, "worker, again", laden()))
		l.flows(t.T)
	})
	t.leave(s, crew)
	if code := stack.Stop(t, worker); code != 0 {
		t.Errorf("the worker with the embedded server ended with code %d", code)
	}
}
