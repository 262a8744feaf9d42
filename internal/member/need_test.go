package member_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// needOf is the need to authorize at first sight of a member.
func needOf(r member.Reading) bool {
	var s member.State
	return observe(&s, r, everyStatus).Data.OAuthRequired
}

func TestNeedToAuthorizeByStatus(t *testing.T) {
	t.Parallel()
	alone := map[events.Status]bool{
		"PENDING": true, "PREVENTED": true, "DENIED": true, "IMPORTED": true, "IMPAIRED": true,
	}
	neverByURI := map[events.Status]bool{"CONNECTED": true, "CREATED": true, "DELAYED": true, "UPDATED": true, "RESUMED": true}
	for _, s := range append(events.Statuses(), "QUARANTINED") {
		byURI := alone[s] || !neverByURI[s]
		for _, c := range []struct {
			name string
			r    member.Reading
			want bool
		}{
			{"alone", answer(status(s)), alone[s]},
			{"with a URI", answer(status(s), uri), byURI},
			{"with a URI while aggregating", answer(status(s), uri, aggregating), alone[s]},
			{"while aggregating", answer(status(s), aggregating), alone[s]},
			{"without OAuth", answer(status(s), uri, noOAuth), false},
			{"with OAuth unknown", answer(status(s), uri, unknownOAuth), false},
		} {
			if got := needOf(c.r); got != c.want {
				t.Errorf("%s %s: need is %t, want %t", s, c.name, got, c.want)
			}
		}
	}
}

func TestNeedToAuthorizeWithoutAStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		r    member.Reading
		want bool
	}{
		{"no status", answer(nullStatus), false},
		{"no status, with a URI", answer(nullStatus, uri), true},
		{"no status, reauthorization required", answer(nullStatus, fault(2004)), true},
	} {
		if got := needOf(c.r); got != c.want {
			t.Errorf("%s: need is %t, want %t", c.name, got, c.want)
		}
	}
}

func TestNeedToAuthorizeByError(t *testing.T) {
	t.Parallel()
	codes := map[int]bool{2004: true, 2005: true}
	for _, code := range []int{0, 1000, 1001, 1002, 2001, 2002, 2003, 2004, 2005, 2006, 3000, 3001, 3002} {
		for _, s := range []events.Status{"CONNECTED", "CREATED", "DEGRADED", "QUARANTINED"} {
			if got := needOf(answer(status(s), fault(code))); got != codes[code] {
				t.Errorf("%s with error %d: need is %t, want %t", s, code, got, codes[code])
			}
			if needOf(answer(status(s), fault(code), noOAuth)) {
				t.Errorf("%s with error %d: a need without OAuth", s, code)
			}
		}
		if got := needOf(answer(fault(code), aggregating)); got != codes[code] {
			t.Errorf("error %d while aggregating: need is %t, want %t", code, got, codes[code])
		}
	}
	typeOnly := answer(func(r *member.Reading) { r.Member.Error = &events.Error{Type: new("MEMBER")} })
	if needOf(typeOnly) {
		t.Error("an error without a code makes a need")
	}
}

func TestNeedToAuthorizeLastsAsLongAsWhatMadeIt(t *testing.T) {
	t.Parallel()
	const degraded = events.StatusDegraded
	for _, c := range []struct {
		name      string
		last, now member.Reading
		want      bool
	}{
		{"URI goes blank", answer(status(degraded), uri), answer(status(degraded)), true},
		{"URI goes blank and the status is null", answer(status(degraded), uri), answer(nullStatus), true},
		{"URI goes blank and something else changes", answer(status(degraded), uri), answer(status(degraded), unmanaged), true},
		{"URI goes blank and the error stays", answer(status(degraded), uri, fault(3000)), answer(status(degraded), fault(3000)), true},
		{
			"URI goes blank and the error is reworded",
			answer(status(degraded), uri, fault(3000)),
			answer(status(degraded), fault(3000), func(r *member.Reading) { r.Member.Error.Message = new("Down.") }),
			true,
		},
		{"URI goes blank, status unknown to us", answer(status("QUARANTINED"), uri), answer(status("QUARANTINED")), true},
		{"status changes and the URI stays", answer(status(degraded), uri), answer(status("FAILED"), uri), true},

		{"authorized", answer(status("PENDING"), uri), answer(), false},
		{"authorized, aggregation about to start", answer(status("PENDING"), uri), answer(status("CREATED"), uri), false},
		{"connected and the URI stays", answer(status(degraded), uri), answer(uri), false},
		{"status changes and the URI goes blank", answer(status(degraded), uri), answer(status("FAILED")), false},
		{"error is cleared", answer(fault(2004)), answer(), false},
		{"error is cleared and the URI goes blank", answer(status(degraded), uri, fault(3000)), answer(status(degraded)), false},
		{"error appears and the URI goes blank", answer(status(degraded), uri), answer(status(degraded), fault(3000)), false},
		{"error turns into another", answer(status(degraded), fault(2004)), answer(status(degraded), fault(3000)), false},
		{"aggregation runs", answer(status(degraded), uri), answer(status(degraded), uri, aggregating), false},
		{"no OAuth any more", answer(status("PENDING")), answer(status("PENDING"), noOAuth), false},
		{"OAuth said no more", answer(status("PENDING")), answer(status("PENDING"), unknownOAuth), true},
		{"null status after PENDING", answer(status("PENDING"), uri), answer(nullStatus), true},
		{"null status after DENIED", answer(status("DENIED")), answer(nullStatus, aggregating), true},
		{"null status after CONNECTED, with a URI", answer(), answer(nullStatus, uri), false},
	} {
		s := after(t, c.last)
		if s.OAuthRequired == (c.name == "null status after CONNECTED, with a URI") {
			t.Fatalf("%s: need before is %t", c.name, s.OAuthRequired)
		}
		got := s.OAuthRequired
		if e := observe(&s, c.now, everyStatus); e.Type != "" {
			got = e.Data.OAuthRequired
		}
		if got != c.want {
			t.Errorf("%s: need is %t, want %t", c.name, got, c.want)
		}
	}
}

func TestBlankURIDoesNotBringBackANeedThatEnded(t *testing.T) {
	t.Parallel()
	s := after(t,
		answer(status("DEGRADED"), uri),
		answer(status("DEGRADED"), aggregating),
		answer(status("DEGRADED")),
	)
	if s.OAuthRequired || s.Revision != 3 {
		t.Errorf("need is %t at revision %d, want none at 3", s.OAuthRequired, s.Revision)
	}
}

func TestNeedOfADeletedMemberIsNotKept(t *testing.T) {
	t.Parallel()
	// An event that memberwatch writes does not say this; one that says it is about a life that ended.
	s := after(t, answer(status("DEGRADED"), uri))
	s.Deleted = true
	if observe(&s, answer(status("DEGRADED")), everyStatus).Data.OAuthRequired {
		t.Error("a need that was there before the deletion came back with the member")
	}
}

func TestNeedThatArisesAloneIsAChangeOfAttributes(t *testing.T) {
	t.Parallel()
	s := after(t, answer(status("DEGRADED")))
	wantEvent(t, observe(&s, answer(status("DEGRADED"), uri), everyStatus),
		events.TypeAttributesChanged, "oauth_required", "false")

	s = after(t, answer(status("DEGRADED"), uri))
	wantEvent(t, observe(&s, answer(status("DEGRADED"), aggregating), everyStatus),
		events.TypeAttributesChanged, "is_being_aggregated", "false", "oauth_required", "true", "provisional", "false")
}
