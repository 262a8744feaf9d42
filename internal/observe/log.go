package observe

import (
	"errors"
	"io"
	"log/slog"
	"os"
)

// NewLogger returns a logger that writes to w, one line a record. Errors are
// those of [Config.Problems].
func NewLogger(cfg Config, w io.Writer) (*slog.Logger, error) {
	if err := errors.Join(cfg.Problems()...); err != nil {
		return nil, err
	}
	level, err := cfg.level()
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == FormatText || cfg.LogFormat == FormatAuto && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}

// isTerminal reports whether somebody is likely to read w as it is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
