package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestUnreadFieldsAreCountedAndToldOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	m := newMXMetrics(slog.New(slog.NewTextHandler(&log, nil)))
	for range 3 {
		m.passedOver("member.use_cases")
	}
	m.passedOver("member.name")
	if n := testutil.ToFloat64(m.unread.WithLabelValues("member.use_cases")); n != 3 {
		t.Errorf("counted %v times", n)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 || strings.Count(log.String(), "member.use_cases") != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}
