//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSizesHoldTheMembersThatAreWorkedOn(t *testing.T) {
	t.Parallel()
	if got, err := parseSizes("10000,1000000"); err != nil || !slices.Equal(got, []int{10_000, 1_000_000}) {
		t.Errorf("sizes are %d, %v", got, err)
	}
	for _, bad := range []string{"", "9999", "10000,", "many"} {
		if got, err := parseSizes(bad); err == nil {
			t.Errorf("parseSizes(%q) is %d", bad, got)
		}
	}
}

func TestFilledMembersHaveGuidsOfTheirOwnThatAreAsLong(t *testing.T) {
	t.Parallel()
	const guid = "MBR-1d0b14e4-db01-4fed-9836-d4cbef5e8891"
	seen := map[string]bool{guid: true}
	for _, n := range []int{0, 1, 999_999} {
		got := numbered(guid, n)
		if len(got) != len(guid) || seen[got] || !strings.HasPrefix(got, "MBR-") {
			t.Errorf("guid %d is %s", n, got)
		}
		seen[got] = true
	}
}

func TestDiskUsageCountsFilesBelow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "below/b"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := diskUsage(dir); err != nil || got != 200 {
		t.Errorf("disk usage is %v, %v", got, err)
	}
	if _, err := diskUsage(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a file that is gone is an error: %v", err)
	}
}

func TestRatiosAreToTheFirstSize(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	writeScale(&out, []sizing{
		{Members: 10_000, Disk: 20e6, Remembered: cost{100, 50, 25}, FromTheStream: cost{1, 1, 1}},
		{Members: 100_000, Disk: 200e6, Remembered: cost{110, 50, 25}, FromTheStream: cost{1, 1, 1}},
	})
	for _, want := range []string{"100 (1.00×)", "110 (1.10×)", "2,000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %s in\n%s", want, &out)
		}
	}
}
