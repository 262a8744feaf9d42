package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// guard knows who may send webhooks. A certificate, where one is asked for, was
// checked before any request could be made; beside it every header that is set
// up here counts, and either of them is enough.
type guard struct {
	basic, bearer *[sha256.Size]byte // hash of what is accepted; nil: that scheme is not
}

func newGuard(c *Config) guard {
	var g guard
	if c.User != "" {
		g.basic = hashed(c.User + ":" + string(c.Password))
	}
	if c.Token != "" {
		g.bearer = hashed(string(c.Token))
	}
	return g
}

// hashed makes secrets of any length comparable in a time that tells nothing of them.
func hashed(s string) *[sha256.Size]byte {
	sum := sha256.Sum256([]byte(s))
	return &sum
}

// admits reports whether r comes with what is asked for.
func (g guard) admits(r *http.Request) bool {
	if g.basic == nil && g.bearer == nil {
		return true // its certificate admitted it
	}
	if user, password, ok := r.BasicAuth(); ok {
		return matches(g.basic, user+":"+password)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") && matches(g.bearer, strings.TrimLeft(token, " "))
}

func matches(want *[sha256.Size]byte, got string) bool {
	return want != nil && subtle.ConstantTimeCompare(want[:], hashed(got)[:]) == 1
}

// challenge tells a client how to authenticate.
func (g guard) challenge(h http.Header) {
	if g.basic != nil {
		h.Add("WWW-Authenticate", `Basic realm="memberwatch", charset="UTF-8"`)
	}
	if g.bearer != nil {
		h.Add("WWW-Authenticate", `Bearer realm="memberwatch"`)
	}
}
