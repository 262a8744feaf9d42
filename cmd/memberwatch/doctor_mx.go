package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// examineMX makes the checks of MX. known are members that MX should know.
func (d *doctor) examineMX(ctx context.Context, c *config, known []events.Key) {
	all := []string{checkMXDNS, checkMXReach, checkMXClient, checkMXClock, checkMXMembers}
	if len(c.MX.Problems()) > 0 {
		d.skip("the settings of MX are wrong", all...)
		return
	}
	base, err := url.Parse(c.MX.BaseURL)
	if err != nil { // Problems found none.
		d.skip("MX_BASE_URL cannot be read", all...)
		return
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	switch {
	case err == nil && proxy != nil && base.Scheme == "https": // no other goes by a proxy
		d.ok(checkMXDNS, "is the affair of the proxy %s", proxy.Host)
	case !d.resolve(ctx, checkMXDNS, "MX_BASE_URL", []*url.URL{base}):
		d.skip("the name cannot be resolved", all[1:]...)
		return
	}
	watch := &dateWatch{now: d.now}
	client, err := mx.New(c.MX, mx.WithTransport(watch.around))
	if err != nil {
		d.failed(checkMXReach, "see the settings", "%v", err)
		d.skip("there is no client", all[2:]...)
		return
	}
	defer client.Close()
	_, err = client.UsersPage(ctx, 1)
	if !d.reached(err) {
		d.skip("MX cannot be reached", all[2:]...)
		return
	}
	accepted := d.accepted(err)
	if seen := watch.last.Load(); seen != nil {
		d.clock(checkMXClock, "MX", seen.date, seen.began, seen.ended, time.Second)
	} else {
		d.skip("MX's answer has no Date", checkMXClock)
	}
	if !accepted {
		d.skip("MX does not answer us", checkMXMembers)
		return
	}
	d.members(ctx, client, known)
}

// reached tells whether any answer came.
func (d *doctor) reached(err error) bool {
	kind := mx.KindOf(err)
	if kind != mx.Connection && kind != mx.Timeout && kind != mx.Canceled {
		d.ok(checkMXReach, "answers")
		return true
	}
	if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		d.failed(checkMXReach, "this is not MX, or something between reads along: correct MX_BASE_URL, or give the image the proxy's authority", "%v", err)
		return false
	}
	d.failed(checkMXReach, "open the way to MX's port 443: firewall, egress rules, HTTPS_PROXY; compare MX_BASE_URL", "%v", err)
	return false
}

// accepted tells whether MX lets this client ask.
func (d *doctor) accepted(err error) bool {
	var fix string
	switch mx.KindOf(err) {
	case mx.None:
		d.ok(checkMXClient, "client id, key, version and address are accepted")
		return true
	case mx.Unauthorized:
		fix = "correct MX_CLIENT_ID and MX_API_KEY or MX_API_KEY_FILE; keys of https://int-api.mx.com do not work at https://api.mx.com"
	case mx.Forbidden:
		fix = "have MX put the address that this machine is seen with on the allow-list, or enable the API for this client"
	case mx.NotAcceptable:
		fix = "set MX_ACCEPT_VERSION to a version that MX serves, such as v20250224"
	case mx.NotFound:
		fix = "correct MX_BASE_URL: the API is not at this path"
	case mx.RateLimited:
		fix = "set MX_RATE_LIMIT, or lower MX_MAX_IN_FLIGHT or the number of workers: both count per process"
	case mx.Unavailable, mx.ServerFailed:
		fix = "wait; see MX's status page"
	case mx.BadAnswer:
		fix = "correct MX_BASE_URL: what answers there does not speak as MX does"
	case mx.BadRequest, mx.Conflict, mx.Unprocessable, mx.Timeout, mx.Connection, mx.Canceled:
		fix = "try again; if it stays, ask MX"
	}
	d.failed(checkMXClient, fix, "%v", err)
	return false
}

// members tells whether MX knows what was known: a key of another environment
// is a good key.
func (d *doctor) members(ctx context.Context, client *mx.Client, known []events.Key) {
	gone := 0
	for _, k := range known {
		_, err := client.ReadMember(ctx, k.User(), k.Member())
		switch mx.KindOf(err) {
		case mx.None:
			d.ok(checkMXMembers, "MX knows one that is known here")
			return
		case mx.NotFound:
			gone++
		default:
			d.failed(checkMXMembers, "see the check mx client", "reading a member: %v", err)
			return
		}
	}
	const fix = "compare MX_BASE_URL and MX_CLIENT_ID with those of the members: this looks like another environment"
	switch gone {
	case 0:
		d.skip("none is known yet", checkMXMembers)
	case 1:
		d.note(checkMXMembers, checkWarning, fix+", unless it was deleted", "MX answers 404 for the one member that is known here")
	default:
		d.failed(checkMXMembers, fix, "MX answers 404 for all of %d members that were there when they were last read", gone)
	}
}

// dateWatch notes what time it is for who answers.
type dateWatch struct {
	now  func() time.Time
	next http.RoundTripper
	last atomic.Pointer[dated]
}

// dated is a Date and the time, by our clock, in which it was written.
type dated struct{ date, began, ended time.Time }

func (w *dateWatch) around(next http.RoundTripper) http.RoundTripper {
	w.next = next
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *dateWatch) RoundTrip(r *http.Request) (*http.Response, error) {
	began := w.now()
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		w.last.Store(&dated{date, began, w.now()})
	}
	return resp, nil
}
