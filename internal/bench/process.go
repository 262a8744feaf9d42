//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
	tailBytes    = 4 << 10
)

// process is a child with its standard error in a file.
type process struct {
	name  string
	cmd   *exec.Cmd
	log   string        // path of its standard error
	first chan string   // the first line of its standard output; closed without one when it ends
	done  chan struct{} // closed when it has ended
	err   error         // how it ended; read only after done
	stdin io.Closer     // roles of this binary end when it closes, should we die unseen
}

// spawn starts path with only the environment it is given.
func spawn(dir, name, path string, env []string) (*process, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("making log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own
	// Not CommandContext: who started a process stops it, in the order that suits it.
	cmd := exec.Command(path) //nolint:noctx // A binary that was built for this run.
	if name == "memberwatch" {
		cmd.Args = append(cmd.Args, "serve")
	}
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir}, env...)
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	// A Ctrl-C at the terminal is for us; we stop the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{
		name: name, cmd: cmd, log: log.Name(), stdin: stdin,
		first: make(chan string, 1), done: make(chan struct{}),
	}
	go func() {
		defer close(p.done)
		out := bufio.NewReader(stdout)
		if line, err := out.ReadString('\n'); err == nil {
			p.first <- strings.TrimSpace(line)
		}
		close(p.first)
		_, _ = io.Copy(io.Discard, out)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// announced waits for the line in which the process says that it is ready.
func (p *process) announced(ctx context.Context) (string, error) {
	t := time.NewTimer(startTimeout)
	defer t.Stop()
	select {
	case line, ok := <-p.first:
		if ok {
			return line, nil
		}
		<-p.done
		return "", p.broken("ended before it was ready")
	case <-t.C:
		return "", p.broken("was not ready in time")
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// broken is an error about the process with the end of its log.
func (p *process) broken(what string) error {
	select {
	case <-p.done:
		if p.err != nil {
			what += " (" + p.err.Error() + ")"
		}
	default:
	}
	return fmt.Errorf("%w: %s %s; the end of its log:\n%s", errBroken, p.name, what, p.tail())
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return strings.TrimSpace(string(text))
}

// stop ends the process and returns when it has ended.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended this instant
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	defer p.stdin.Close()
	select {
	case <-p.done:
		return nil
	case <-t.C:
		err := p.broken("did not stop when told to")
		_ = p.cmd.Process.Kill()
		<-p.done
		return err
	}
}

// goBuild builds a program of this module.
func goBuild(ctx context.Context, out, pkg string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...) //nolint:gosec // Arguments of our own.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// moduleRoot is where go.mod lies, above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("finding the module: no go.mod above the working directory")
		}
		dir = up
	}
}
