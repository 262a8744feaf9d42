package mx_test

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// tracer keeps all that its spans are told.
type tracer struct {
	noop.Tracer
	said strings.Builder
}

func (t *tracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.said.WriteString(name + "\n")
	c := trace.NewSpanStartConfig(options...)
	span := &span{tracer: t}
	span.SetAttributes(c.Attributes()...)
	return ctx, span
}

type span struct {
	noop.Span
	tracer *tracer
}

func (s *span) SetStatus(_ codes.Code, text string) { s.tracer.said.WriteString(text + "\n") }

func (s *span) SetAttributes(all ...attribute.KeyValue) {
	for _, a := range all {
		s.tracer.said.WriteString(a.Value.String() + "\n")
	}
}

func TestErrorsAndSpansNeverHoldTheIDsThatWereAskedFor(t *testing.T) {
	t.Parallel()
	const (
		user, member = "o'Brien+mx@example.com", "bob's checking"
		short        = "q7"
	)
	for name, body := range map[string]string{
		"as given":            `no route matches "/users/` + user + `/members/` + member + `"`,
		"in another case":     "unknown: " + strings.ToUpper(user),
		"within a word":       "unknown_" + user + "_" + member + "s",
		"for a path":          "/users/" + url.PathEscape(user) + "/members/" + url.PathEscape(member),
		"for a path, wholly":  "/users/o%27%42rien%2bmx%40example%2Ecom/members/bob%27s%20checking/",
		"for a query":         "id=" + url.QueryEscape(user) + "&member=" + url.QueryEscape(member),
		"in JSON":             `{"users":"o\u0027Brien\u002bmx\u0040example.com","member":"bob\u0027s checking"}`,
		"of a path, in JSON":  `{"path":"\/users\/o\u0027Brien+mx%40example.com\/members\/bob\u0027s%20checking"}`,
		"in HTML":             "<p>" + html.EscapeString(user) + ", " + html.EscapeString(member) + "; o&apos;Brien&#x2b;mx@example.com</p>",
		"in a URI":            "http://mx.test/users/" + user + "/members/" + member + " is not there",
		"beside a token":      strings.Repeat("0a1B", 20) + user + strings.Repeat("0a1B", 20) + member,
		"at the end of sight": "https://bank.test/" + strings.Repeat("y", 994) + " " + member + " " + user,
	} {
		traced := new(tracer)
		client := newClient(t, config(serve(t, respond(http.StatusNotFound, body))), mx.WithTracer(traced))
		_, err := client.ReadMember(t.Context(), user, member)
		out := strings.ToLower(err.Error() + printed(t, err) + traced.said.String())
		for _, part := range []string{"brien", "example", "bob", "checking"} {
			if strings.Contains(out, part) {
				t.Errorf("%s: %q is in %s", name, part, out)
			}
		}
		if !strings.Contains(traced.said.String(), "not_found") {
			t.Errorf("%s: the span says %q", name, traced.said.String())
		}
	}
	// An answer that breaks off, and one that net/http quotes.
	for _, answer := range []string{"HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\nsorry o'Brien+mx@exam", "sorry " + user + "\r\n\r\n"} {
		_, err := newClient(t, config(wire(t, answer))).ReadMember(t.Context(), user, member)
		if err == nil || strings.Contains(err.Error(), "Brien") {
			t.Errorf("of %q: %v", answer, err)
		}
	}
	_, err := newClient(t, config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "bad query "+r.URL.RawQuery+" of "+r.FormValue("id"))
	}))).UserByID(t.Context(), user)
	if err == nil || strings.Contains(err.Error(), "Brien") {
		t.Errorf("of a search: %v", err)
	}

	for body, want := range map[string]string{
		"q7: no member q7 of (q7).": "[redacted]: no member [redacted] of ([redacted]).",
		`users%2Fq7%2Fx \/q7`:       `users%2F[redacted]%2Fx \/[redacted]`,
		"faq7, q77 and éq7":         "faq7, q77 and éq7",
		"q7-example":                "[redacted]", // of the longer id that it is a part of, nothing is left
	} {
		_, err := newClient(t, config(serve(t, respond(http.StatusNotFound, body)))).ReadMember(t.Context(), short, "q7-example")
		if got := callError(t, err).Excerpt; got != want {
			t.Errorf("of %q: excerpt is %q, want %q", body, got, want)
		}
	}
}
