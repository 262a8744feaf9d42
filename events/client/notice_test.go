package client_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

func TestNoticesAreLoggedWithoutTheDataOfTheirEvents(t *testing.T) {
	t.Parallel()
	w := &world{}
	e := w.event(events.TypePending, member(1), 2).Announcement("https://mxbank.example/secret")
	raw, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	d := client.Delivery{Event: e, Raw: raw, Stream: "MX_OAUTH", Sequence: 7, Attempt: 3}
	var b bytes.Buffer
	notice := client.LogTo(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	for _, n := range []client.Notice{
		{Kind: client.GivenUp, Delivery: d, Err: errUnwell},
		{Kind: client.Retry, Delivery: d, Err: errUnwell},
		{Kind: client.Duplicate, Delivery: d},
		{Kind: client.Foreign, Delivery: client.Delivery{Raw: raw, Stream: "MX_EVENTS", Sequence: 8}, Err: events.ErrNotMemberEvent},
		{Kind: client.Fetching, Err: errors.New("no answer")},
	} {
		notice(n)
	}
	const event = "stream=MX_OAUTH sequence=7 type=member.oauth_required member=MBR-1 attempt=3"
	want := "level=ERROR msg=subscription notice=given_up " + event + " error=unwell\n" +
		"level=WARN msg=subscription notice=retry " + event + " error=unwell\n" +
		"level=INFO msg=subscription notice=duplicate " + event + "\n" +
		"level=INFO msg=subscription notice=foreign stream=MX_EVENTS sequence=8 error=\"not an event about a member\"\n" +
		"level=WARN msg=subscription notice=fetching error=\"no answer\"\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}
	if strings.Contains(b.String(), "secret") {
		t.Error("a URI is in the log")
	}
}
