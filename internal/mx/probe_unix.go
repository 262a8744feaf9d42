//go:build unix

package mx

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// readNow reads what has arrived.
func (s *socket) readNow(p []byte) (int, error) {
	if s.read == nil {
		s.read = func(fd uintptr) bool {
			s.n, s.err = syscall.Read(int(fd), s.into)
			return true
		}
	}
	s.into = p
	if err := s.raw.Read(s.read); err != nil {
		return 0, err
	}
	switch {
	case errors.Is(s.err, syscall.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}
