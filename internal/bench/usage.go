//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// ticksPerSecond is the unit of times in /proc/PID/stat: USER_HZ, which Linux
// fixes at 100 for user space whatever the kernel counts in.
const ticksPerSecond = 100

// cpu is the user and system time that the process has used, to 10 ms.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading CPU time of %s: %w", p.name, err)
	}
	d, err := parseStat(text)
	if err != nil {
		return 0, fmt.Errorf("reading CPU time of %s: %w", p.name, err)
	}
	return d, nil
}

// parseStat reads utime and stime, fields 14 and 15 of proc(5)'s stat.
func parseStat(text []byte) (time.Duration, error) {
	// The second field is the program's name in parentheses, which may hold anything.
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	const utime = 14 - 3
	if end < 0 || len(fields) < utime+2 {
		return 0, errors.New("stat: too few fields")
	}
	var ticks uint64
	for _, f := range fields[utime : utime+2] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil //nolint:gosec // Centuries fit.
}

// machineCPU is processor time of all processors since the start of the machine, in seconds.
type machineCPU struct{ stolen, all float64 }

// machineTime reads it. What a hypervisor gave to others is stolen, as /proc/stat has it.
func machineTime() (machineCPU, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return machineCPU{}, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	stat, err := fs.Stat()
	if err != nil {
		return machineCPU{}, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	c := stat.CPUTotal
	return machineCPU{c.Steal, c.User + c.Nice + c.System + c.Idle + c.Iowait + c.IRQ + c.SoftIRQ + c.Steal}, nil
}

// stolenSince is the share of the time since before that others had, in percent.
func (m machineCPU) stolenSince(before machineCPU) float64 {
	return 100 * (m.stolen - before.stolen) / max(m.all-before.all, 1)
}

// memory is resident memory in bytes.
type memory struct{ now, peak float64 }

// memory is VmRSS and VmHWM of the process.
func (p *process) memory() (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return memory{}, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	m, err := parseStatus(string(text))
	if err != nil {
		return memory{}, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	return m, nil
}

func parseStatus(text string) (memory, error) {
	var m memory
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		var to *float64
		switch name {
		case "VmHWM":
			to = &m.peak
		case "VmRSS":
			to = &m.now
		default:
			continue
		}
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("status: %s: %w", name, err)
		}
		*to = float64(kib) * 1024
		found++
	}
	if found != 2 {
		return m, errors.New("status: no VmHWM or VmRSS")
	}
	return m, nil
}
