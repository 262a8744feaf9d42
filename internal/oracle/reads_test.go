package oracle_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/oracle"
)

// said is an answer about the plain member; fields are those of the member object.
func said(fields string) oracle.Read {
	return oracle.Read{Member: plainMember, Status: 200, Body: fmt.Appendf(nil, `{"guid":%q,%s}`, plainMember, fields)}
}

// gone is an answer of 404.
func gone() oracle.Read { return oracle.Read{Member: plainMember, Status: 404} }

// at returns an answer to a read that began at a time.
func at(t time.Time, r oracle.Read) oracle.Read {
	r.At = t
	return r
}

// wantVerdict wants the first offense to be of inv with a reason that has want in
// it; none at all for no reason.
func wantVerdict(t *testing.T, r oracle.Report, inv oracle.Invariant, want string) {
	t.Helper()
	switch {
	case want == "" && !r.OK():
		t.Errorf("verdict is\n%s\nwant it kept", r)
	case want != "" && (r.OK() || r.Offenses[0].Invariant != inv || !strings.Contains(r.Offenses[0].Reason, want)):
		t.Errorf("verdict is\n%s\nwant first %s: …%s…", r, inv, want)
	}
}

func TestEachDeletionNeedsTwo404sInARow(t *testing.T) {
	t.Parallel()
	well := said(`"connection_status":"CONNECTED"`)
	noon := time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		deletions int
		reads     []oracle.Read
		summary   string // in the reason, when the reads are not all there are
		every     string // in the reason, when they are
	}{
		"confirmed":               {1, []oracle.Read{well, gone(), gone()}, "", ""},
		"with a 200 in between":   {1, []oracle.Read{well, gone(), well, gone()}, "deletion 1 of the member, and MX has confirmed a 404 0 times", "confirmed a 404 0 times"},
		"suspected once before":   {1, []oracle.Read{well, gone(), well, gone(), gone()}, "", ""},
		"a second time":           {2, []oracle.Read{well, gone(), gone(), well, gone(), gone(), gone()}, "", ""},
		"again without a 404":     {2, []oracle.Read{well, gone(), gone(), well}, "deletion 2 of the member, and MX has confirmed a 404 1 times", "confirmed a 404 1 times"},
		"again with one 404":      {2, []oracle.Read{well, gone(), gone(), gone(), well, gone()}, "confirmed a 404 1 times", "confirmed a 404 1 times"},
		"again by the same 404s":  {2, []oracle.Read{well, gone(), gone(), gone(), gone(), well}, "", "confirmed a 404 1 times"},
		"nonsense in between":     {1, []oracle.Read{well, gone(), {Member: plainMember, Status: 200, Body: []byte("<html>")}, gone()}, "", ""},
		"a 200 that began before": {1, []oracle.Read{well, at(noon, gone()), at(noon.Add(-time.Second), well), at(noon.Add(time.Minute), gone())}, "", ""},
		"a 200 that began after":  {1, []oracle.Read{well, at(noon, gone()), at(noon.Add(time.Second), well), at(noon.Add(time.Minute), gone())}, "confirmed a 404 0 times", "confirmed a 404 0 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory()
			s.happen(plainMember, "connected", obj{"connection_status": "CONNECTED"})
			for i := range tc.deletions {
				if i > 0 {
					s.happen(plainMember, "connected", obj{"deleted": false})
				}
				s.happen(plainMember, "deleted", obj{"deleted": true})
			}
			if tc.reads[len(tc.reads)-1].Status == 200 {
				s.happen(plainMember, "connected", obj{"deleted": false}) // else the last answer is not told
			}
			js := open(t)
			s.publish(t, js, "mx", 0)
			for every, want := range map[bool]string{false: tc.summary, true: tc.every} {
				opts := oracle.Options{Reads: slices.Values(tc.reads), EveryRead: every, SameClock: true}
				wantVerdict(t, check(t, js, opts), oracle.I7, want)
			}
		})
	}
}

func TestErrorsAndNeedsRestOnWhatMXHasSaid(t *testing.T) {
	t.Parallel()
	const (
		lost   = `"connection_status":"DEGRADED","is_oauth":true,"error":null`
		failed = `"connection_status":"DEGRADED","is_oauth":true,"error":{"error_code":3000,"error_type":"MEMBER"}`
	)
	down := fault{3000, "MEMBER", "down", nil, "en"}
	for name, tc := range map[string]struct {
		change obj // of a member that was DEGRADED, without error or need
		read   string
		inv    oracle.Invariant
		want   string
	}{
		"an error that MX gave":              {obj{"error": down}, failed, "", ""},
		"an error that MX gave as text":      {obj{"error": down}, `"connection_status":"DEGRADED","error":"{\"error_code\":3000,\"error_type\":\"MEMBER\"}"`, "", ""},
		"an error that nobody can read":      {obj{"error": down}, `"connection_status":"DEGRADED","error":"broken"`, "", ""},
		"an error that was invented":         {obj{"error": down}, lost, oracle.I7, `MX has never answered with error 3000 "MEMBER"`},
		"an error of another type":           {obj{"error": fault{3000, "USER", nil, nil, nil}}, failed, oracle.I7, `error 3000 "USER"`},
		"a need with a URI":                  {obj{"oauth_required": true}, lost + `,"oauth_window_uri":"https://bank.example"`, "", ""},
		"a need with a URI that is not kept": {obj{"oauth_required": true}, lost + `,"oauth_window_uri_blank":false`, "", ""},
		"a need with who knows what":         {obj{"oauth_required": true}, lost, "", ""},
		"a need without a URI":               {obj{"oauth_required": true}, lost + `,"oauth_window_uri":""`, oracle.I5, "and MX gave no URI with them"},
		"a need with a URI that is null":     {obj{"oauth_required": true}, lost + `,"oauth_window_uri":null`, oracle.I5, "and MX gave no URI with them"},
		"a need with a URI known as blank":   {obj{"oauth_required": true}, lost + `,"oauth_window_uri_blank":true`, oracle.I5, "and MX gave no URI with them"},
		"a URI with another error": {
			obj{"oauth_required": true, "id": "x"}, failed + `,"oauth_window_uri":"https://bank.example"`, oracle.I5, "and MX gave no URI with them",
		},
		"a URI with no status": {obj{"oauth_required": true}, `"is_oauth":true,"oauth_window_uri":"https://bank.example"`, "", ""},
		"a need with its error": {
			obj{"oauth_required": true, "error": fault{2004, "MEMBER", nil, nil, nil}},
			`"connection_status":"DEGRADED","error":{"error_code":2004,"error_type":"MEMBER"},"oauth_window_uri":""`, "", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory()
			was := s.happen(plainMember, "degraded", obj{"connection_status": "DEGRADED", "is_oauth": true})
			e := s.happen(plainMember, cmp.Or(map[bool]string{true: "error_raised"}[tc.change["error"] != nil], "attributes_changed"), tc.change)
			if tc.change["oauth_required"] == true {
				s.announce(e, "")
			}
			last := s.happen(plainMember, "closed", obj{"connection_status": "CLOSED", "oauth_required": false, "error": nil})
			js := open(t)
			s.publish(t, js, "mx", 0)
			reads := []oracle.Read{said(lost + `,"oauth_window_uri":""`), said(tc.read), said(`"connection_status":"CLOSED"`)}
			opts := oracle.Options{Reads: slices.Values(reads), EveryRead: true, SameClock: true}
			wantVerdict(t, check(t, js, opts), tc.inv, tc.want)

			opts.EveryRead = false // of a summary nobody knows what it leaves out
			wantVerdict(t, check(t, js, opts), "", "")

			opts.EveryRead = true
			for i, m := range []*msg{was, e, last} {
				reads[i].At = observed(t, m).Add(-time.Second)
			}
			opts.Reads = slices.Values(reads)
			wantVerdict(t, check(t, js, opts), tc.inv, tc.want)
		})
	}
}

func observed(t *testing.T, m *msg) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, as[string](m.data["observed_at"]))
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestAnEventTellsOfAReadThatBeganAfterTheEventBefore(t *testing.T) {
	t.Parallel()
	const (
		connected    = `"connection_status":"CONNECTED"`
		disconnected = `"connection_status":"DISCONNECTED"`
		silent       = `"connection_status":null`
	)
	long := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) // before anything was stored
	soon := func(m *msg) time.Time { return observed(t, m).Add(-time.Second) }
	late := func(m *msg) time.Time { return observed(t, m).Add(time.Second) }
	for name, tc := range map[string]struct {
		reads func(first, second, third *msg) []oracle.Read
		want  string
	}{
		"in order": {func(_, b, c *msg) []oracle.Read {
			return []oracle.Read{at(long, said(connected)), at(soon(b), said(disconnected)), at(soon(c), gone()), at(soon(c), gone())}
		}, ""},
		"more reads than events": {func(a, b, c *msg) []oracle.Read {
			return []oracle.Read{
				at(soon(a), said(connected)), at(long, said(disconnected)), at(soon(b), said(disconnected)), at(late(b), said(connected)),
				at(soon(c), gone()), at(soon(c), gone()), at(late(c), gone()),
			}
		}, ""},
		"a status that the read left out": {func(a, b, c *msg) []oracle.Read {
			return []oracle.Read{at(soon(a), said(connected)), at(long, said(disconnected)), at(soon(b), said(silent)), at(soon(c), gone()), at(soon(c), gone())}
		}, ""},
		"a read that began before": {func(a, _, c *msg) []oracle.Read {
			return []oracle.Read{at(soon(a), said(connected)), at(long, said(disconnected)), at(soon(c), gone()), at(soon(c), gone())}
		}, "to a read that began after the event before was stored at"},
		"a read that came later": {func(a, b, c *msg) []oracle.Read {
			return []oracle.Read{at(soon(a), said(connected)), at(late(b), said(disconnected)), at(soon(c), gone()), at(soon(c), gone())}
		}, "when this one was observed"},
		"404s of before": {func(a, b, _ *msg) []oracle.Read {
			return []oracle.Read{at(long, gone()), at(long, gone()), at(soon(a), said(connected)), at(soon(b), said(disconnected))}
		}, "when this one was observed"},
		"one read without its time": {func(a, _, c *msg) []oracle.Read {
			return []oracle.Read{at(soon(a), said(connected)), at(long, said(disconnected)), at(soon(c), gone()), gone()}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStory()
			first := s.happen(plainMember, "connected", obj{"connection_status": "CONNECTED"})
			second := s.happen(plainMember, "disconnected", obj{"connection_status": "DISCONNECTED"})
			third := s.happen(plainMember, "deleted", obj{"deleted": true})
			reads := tc.reads(first, second, third)
			if reads[len(reads)-1].Status == 200 {
				reads = append(reads, gone()) // and so a member whose last answer is no member
				reads[len(reads)-1].At = late(third)
			}
			js := open(t)
			s.publish(t, js, "mx", 0)
			opts := oracle.Options{Reads: slices.Values(reads), EveryRead: true, SameClock: true}
			wantVerdict(t, check(t, js, opts), oracle.I4, tc.want)
			opts.SameClock = false
			wantVerdict(t, check(t, js, opts), "", "")
		})
	}
}
