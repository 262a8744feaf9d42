package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
)

// Path is where webhooks are taken. Below it, the next segment names the type of
// those that do not say.
const Path = "/webhooks/mx"

// maxBody bounds a webhook. MX's largest documented one is below 2 KiB.
const maxBody = 64 << 10

// storeTime bounds how long storing a command may take. MX wants a prompt answer.
const storeTime = 5 * time.Second

// retryAfter is the seconds after which a webhook that could not be stored is
// worth sending again. MX chooses by itself; others may listen.
const retryAfter = "30"

// Enqueue stores a command durably. After an error it may be stored all the same.
type Enqueue func(ctx context.Context, c events.Command) error

// Handler takes webhooks. It is safe for concurrent use.
type Handler struct {
	guard   guard
	enqueue Enqueue
	log     *slog.Logger

	taken   *prometheus.CounterVec
	ignored prometheus.Counter
}

// NewHandler returns a handler of webhooks from whom c lets in.
func NewHandler(c *Config, enqueue Enqueue, log *slog.Logger) *Handler {
	return &Handler{
		guard: newGuard(c), enqueue: enqueue, log: log,
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_webhooks_total", Help: "Webhooks answered, by MX's type (none: refused before it was read) and status code.",
		}, []string{"type", "code"}),
		ignored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "memberwatch_webhooks_ignored_total", Help: "Webhooks that are about no member.",
		}),
	}
}

// Metrics returns the handler's collectors, to be registered by the caller.
func (h *Handler) Metrics() []prometheus.Collector {
	return []prometheus.Collector{h.taken, h.ignored}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	typ, code, text := h.serve(w, r)
	h.taken.WithLabelValues(label(typ), strconv.Itoa(code)).Inc()
	if text == "" {
		w.WriteHeader(code)
		return
	}
	http.Error(w, text, code)
}

// serve takes a webhook and returns what to answer.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (typ string, code int, text string) {
	pathType, ok := typeIn(r.URL.Path)
	if !ok {
		return "", http.StatusNotFound, "webhooks are taken at " + Path
	}
	if !h.guard.admits(r) {
		h.guard.challenge(w.Header())
		return "", http.StatusUnauthorized, "wrong or missing credentials"
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return "", http.StatusMethodNotAllowed, "webhooks come by POST"
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return "", http.StatusUnsupportedMediaType, "Content-Type: want application/json"
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return "", http.StatusRequestEntityTooLarge, "body: more than " + strconv.Itoa(maxBody) + " bytes"
	}
	if err != nil {
		return "", http.StatusRequestTimeout, "body: did not come whole, or in time"
	}
	c, typ, err := read(body, pathType)
	switch {
	case errors.Is(err, errNoMember):
		h.ignored.Inc()
		return typ, http.StatusNoContent, ""
	case err != nil:
		return typ, http.StatusBadRequest, err.Error()
	}
	// Not the request's context: a sender that hangs up now would send it again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTime)
	defer cancel()
	if err := h.enqueue(ctx, c); err != nil {
		h.log.Warn("webhook not stored; MX sends it again", "type", typ, "member", c.Member, "error", err)
		w.Header().Set("Retry-After", retryAfter)
		return typ, http.StatusServiceUnavailable, "cannot store it at present; send it again"
	}
	return typ, http.StatusNoContent, ""
}

// typeIn returns the type that a path names, if any. ok: webhooks are taken there.
func typeIn(path string) (typ string, ok bool) {
	rest, ok := strings.CutPrefix(path, Path)
	if !ok || rest == "" || rest == "/" {
		return "", ok
	}
	typ, ok = strings.CutPrefix(rest, "/")
	return typ, ok && events.ValidToken(typ)
}

// label is a type as a metric label: of a bounded set, since senders choose types.
func label(typ string) string {
	switch {
	case typ == "":
		return "none"
	case slices.Contains(knownTypes(), typ):
		return typ
	}
	return "other"
}
