package mx_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/memberwatch/memberwatch/internal/mx"
)

var basicToken = base64.StdEncoding.EncodeToString([]byte(clientID + ":" + apiKey))

// printed is v in every way that a program might print it.
func printed(tb testing.TB, v any) string {
	tb.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	fmt.Fprintln(&b, []any{v}, map[string]any{"k": v}, struct{ V any }{v})
	text, err := json.Marshal(v)
	fmt.Fprintln(&b, string(text), err)
	slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
	return b.String()
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	c := config("https://int-api.mx.com")
	uri := mx.URI("https://bank.test/?code=5ecret")
	values := map[string]any{
		"secret": c.APIKey, "pointer to secret": &c.APIKey, "config": c, "pointer to config": &c,
		"client": newClient(t, c), "uri": uri, "member": mx.Member{OAuthWindowURI: uri}, "pointer to member": &mx.Member{OAuthWindowURI: uri},
		"map key": map[mx.Secret]mx.URI{c.APIKey: uri},
	}
	for name, v := range values {
		out := printed(t, v)
		for _, secret := range []string{
			apiKey, basicToken, "5ecret", fmt.Sprintf("%x", apiKey), fmt.Sprintf("%X", apiKey), fmt.Sprintf("%x", "5ecret"), fmt.Sprintf("%X", "5ecret"),
		} {
			if strings.Contains(out, secret) {
				t.Errorf("%s prints %q:\n%s", name, secret, out)
			}
		}
	}
	if uri.Reveal() != "https://bank.test/?code=5ecret" || uri.Blank() || !mx.URI(" ").Blank() {
		t.Error("the uri does not give its value")
	}
	if got := fmt.Sprintf("%+v", values["client"]); got != "mx client of int-api.mx.com" {
		t.Errorf("client prints %q", got)
	}
	if fmt.Sprint(mx.URI(""), mx.Secret("")) != "" {
		t.Error("blank values do not look blank")
	}
}

func TestURIRefusesToBeMarshaledUnlessBlank(t *testing.T) {
	t.Parallel()
	if out, err := json.Marshal(mx.URI("https://x.test")); err == nil {
		t.Errorf("it was marshaled to %s", out)
	}
	if out, err := json.Marshal(mx.URI("")); err != nil || string(out) != "null" {
		t.Errorf("a blank one was marshaled to %s, error %v", out, err)
	}
}

func TestErrorsNeverHoldCredentialsOrURIs(t *testing.T) {
	t.Parallel()
	const secret = "5ecret"
	for name, body := range map[string]string{
		"key":               "bad key " + apiKey,
		"key within a word": "x" + apiKey + "x",
		"id":                "client " + clientID + " unknown",
		"header":            "Authorization: Basic " + basicToken,
		"uri":               `see "https://bank.test/?code=` + secret + `" now`,
		"escaped uri":       `{"uri":"https:\/\/bank.test\/?code=` + secret + `"}`,
		"encoded uri":       `next=https%3A%2F%2Fbank.test%2F%3Fcode%3D` + secret,
		"scheme of an app":  `myapp://` + secret,
		"token":             secret + strings.Repeat("0a1B", 20),
		"cut uri":           strings.Repeat("x ", 500) + "https://bank.test/" + strings.Repeat(secret, 100),
		"cut key":           strings.Repeat("https://bank.test/"+strings.Repeat("y", 90)+" ", 9) + strings.Repeat("z", 30) + " key " + apiKey,
	} {
		_, err := newClient(t, config(serve(t, respond(http.StatusBadRequest, body)))).ReadMember(t.Context(), "me@example.com", "m")
		out := err.Error() + printed(t, err)
		for _, hidden := range []string{secret, apiKey, apiKey[:8], clientID, basicToken, "bank.test", "example.com"} {
			if strings.Contains(out, hidden) {
				t.Errorf("%s: %q is in %s", name, hidden, out)
			}
		}
	}
	// net/http quotes what is not HTTP.
	_, err := newClient(t, config(wire(t, "https://bank.test/"+secret+"\r\n\r\n"))).ReadMember(t.Context(), "u", "m")
	if mx.KindOf(err) != mx.Connection || strings.Contains(err.Error(), secret) {
		t.Errorf("error is %v", err)
	}
}

func TestExcerptsAreBoundedAndPrintable(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                               "",
		" \n\t ":                         "",
		`{"error":{"message":"no"}}`:     `{"error":{"message":"no"}}`,
		"a\x00b\x1b[31m\r\nc\xff\u202ed": "a b [31m c d",
		strings.Repeat("é ", 1000):       strings.Repeat("é ", 84) + "…",
	} {
		_, err := newClient(t, config(serve(t, respond(500, body)))).ReadMember(t.Context(), "u", "m")
		call := callError(t, err)
		if call.Excerpt != want {
			t.Errorf("excerpt of %.40q is %q, want %q", body, call.Excerpt, want)
		}
		if len(call.Excerpt) > 256 || strings.ContainsFunc(call.Excerpt, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("excerpt is %q", call.Excerpt)
		}
	}
	if err := (&mx.CallError{Op: "x", Kind: mx.NotFound, StatusCode: 404, Err: errors.New("why")}); err.Error() != "mx x: not_found (status 404): why" {
		t.Errorf("error is %q", err.Error())
	}
}
