package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

func TestDemoFailsWhenTheSummaryIsNotWhatItShouldBe(t *testing.T) {
	t.Parallel()
	sim := mxsim.New(mxsim.Config{Now: time.Now})
	for name, tc := range map[string]struct {
		spoil   func(*story)
		verdict oracle.Report
		want    string
	}{
		"as it should be": {func(*story) {}, oracle.Report{Events: 1, Announcements: 1}, ""},
		"a command lost":  {func(s *story) { s.sent++ }, oracle.Report{Events: 1, Announcements: 1}, "1 commands lost"},
		"an event twice":  {func(s *story) { s.audience.duplicates++ }, oracle.Report{Events: 1, Announcements: 1}, "1 events twice"},
		"an event unseen": {func(*story) {}, oracle.Report{Events: 2, Announcements: 1}, "1 events and 1 announcements seen, 2 and 1 stored"},
		"a broken promise": {
			func(*story) {}, oracle.Report{Events: 1, Announcements: 1, Faults: 3}, "3 offenses",
		},
	} {
		s := &story{sim: sim, sent: 1, audience: &audience{
			seen:    []events.Event{{Type: events.TypePending}, {Type: events.TypeOAuthRequired}},
			answers: map[string]events.Result{"demo-001": {}},
		}}
		tc.spoil(s)
		var out bytes.Buffer
		err := (&lines{w: &out}).summary(s, tc.verdict, time.Second)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.want != "" && (!errors.Is(err, errDemo) || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestAudienceWaitsOnlySoLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &audience{news: make(chan struct{})}
		err := a.await(t.Context(), "a miracle", func() bool { return false })
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a miracle") {
			t.Errorf("waiting ends with %v", err)
		}
	})
}

func TestAudienceIsWokenByNewsAndByFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &audience{news: make(chan struct{}), answers: map[string]events.Result{}}
		go func() {
			a.note(func() { a.duplicates++ })
			a.note(func() { a.answers["x"] = events.Result{} })
		}()
		if err := a.await(t.Context(), "an answer", func() bool { return len(a.answers) == 1 }); err != nil {
			t.Error(err)
		}
		blind := errors.New("blind")
		go a.note(func() { a.err = blind })
		if err := a.await(t.Context(), "more", func() bool { return false }); !errors.Is(err, blind) {
			t.Errorf("waiting ends with %v", err)
		}
	})
}
