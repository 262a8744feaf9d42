package loglimit

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// text is a log without times.
func text() (*slog.Logger, func() string) {
	var b bytes.Buffer
	h := slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(h), func() string {
		defer b.Reset()
		return b.String()
	}
}

const (
	line    = "level=WARN msg=oops member=MBR-1\n"
	summary = `level=WARN msg="oops: more like this, not shown" lines=`
)

func TestTheFirstLinesAreWrittenAndTheOthersCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, written := text()
		l := New(log.Warn, "oops")
		write := func(n int) {
			for range n {
				l.Write("member", "MBR-1")
			}
		}
		write(30_000)
		synctest.Wait()
		if got := written(); got != strings.Repeat(line, few) {
			t.Errorf("written at once:\n%s", got)
		}
		time.Sleep(every)
		synctest.Wait()
		if got := written(); got != summary+"29990\n" {
			t.Errorf("written after a minute: %q", got)
		}
		write(few + 1)
		time.Sleep(every)
		synctest.Wait()
		if got := written(); got != strings.Repeat(line, few)+summary+"1\n" {
			t.Errorf("written of as many more and one:\n%s", got)
		}
		time.Sleep(every)
		write(few)
		time.Sleep(every)
		synctest.Wait()
		if got := written(); got != strings.Repeat(line, few) {
			t.Errorf("written of a few:\n%s", got)
		}
		l.Close()
	})
}

func TestWhatWasLeftOutIsToldAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, written := text()
		l := New(log.Warn, "oops")
		for range few + 7 {
			l.Write("member", "MBR-1")
		}
		l.Close()
		if got := written(); got != strings.Repeat(line, few)+summary+"7\n" {
			t.Errorf("written:\n%s", got)
		}
		l.Write("member", "MBR-1")
		l.Close()
		time.Sleep(2 * every)
		synctest.Wait()
		if got := written(); got != line {
			t.Errorf("written after the end:\n%s", got)
		}
	})
}
