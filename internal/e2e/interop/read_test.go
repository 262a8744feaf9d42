package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cenats "github.com/cloudevents/sdk-go/protocol/nats/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

// installation is a NATS server with the streams of events, and no service.
type installation struct {
	url      string
	js       jetstream.JetStream
	subjects events.Subjects
}

func newInstallation(t *testing.T) *installation {
	t.Helper()
	srv, err := embedded.Start(embedded.Config{Addr: "127.0.0.1:0", StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{subjects.EventStream(): subjects.Events(), subjects.OAuthStream(): subjects.OAuth()} {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	return &installation{srv.URL(), js, subjects}
}

// publish stores an event as the service does.
func (i *installation) publish(ctx context.Context, e events.Event, raw []byte) error {
	subject := i.subjects.Event(e.Type, e.Key)
	if e.Type == events.TypeOAuthRequired {
		subject = i.subjects.OAuthOf(e.Key)
	}
	_, err := i.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: raw, Header: nats.Header{"Content-Type": {events.ContentType}}})
	return err
}

// goldens returns the golden files that are events, compact as they are on the
// wire, by stream and in the order of their names.
func (i *installation) goldens(t *testing.T) map[string][][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	all, missing := map[string][][]byte{}, map[events.Type]bool{}
	for e := range events.Types() {
		missing[e.Type] = true
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var raw bytes.Buffer
		if err := json.Compact(&raw, text); err != nil {
			t.Fatal(err)
		}
		e, err := events.Decode(raw.Bytes())
		if err != nil {
			continue // A command, a result or a dead letter.
		}
		stream := i.subjects.EventStream()
		if e.Type == events.TypeOAuthRequired {
			stream = i.subjects.OAuthStream()
		}
		all[stream] = append(all[stream], raw.Bytes())
		delete(missing, e.Type)
		if err := i.publish(t.Context(), e, raw.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if len(missing) > 0 {
		t.Fatalf("no golden file of %v", slices.Collect(maps.Keys(missing)))
	}
	return all
}

func TestEveryTypeIsReadByJavaScript(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	for stream, raws := range i.goldens(t) {
		read := node[struct {
			Subject, Time string
			Event         json.RawMessage
		}](t, "read.mjs", i.url, absolute(t, schemaDir), stream, strconv.Itoa(len(raws)))
		if len(read) != len(raws) {
			t.Fatalf("%d of %d events of %s were read", len(read), len(raws), stream)
		}
		for n, raw := range raws {
			published, got := value(t, raw), value(t, read[n].Event)
			if published["time"] != read[n].Time {
				t.Errorf("the time of the event on %s is %v and was read as %q", read[n].Subject, published["time"], read[n].Time)
			}
			published["time"] = inMilliseconds(t, published["time"])
			if diff := cmp.Diff(published, got); diff != "" {
				t.Errorf("event on %s read by the SDK differs (-published +read):\n%s", read[n].Subject, diff)
			}
		}
	}
}

func value(t *testing.T, raw []byte) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// inMilliseconds is a time as JavaScript keeps and writes it.
func inMilliseconds(t *testing.T, v any) string {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v))
	if err != nil {
		t.Fatal(err)
	}
	return at.UTC().Format("2006-01-02T15:04:05.000Z") // cut, as there
}

func TestEveryTypeIsReadByTheSDKForGo(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	for stream, raws := range i.goldens(t) {
		s, err := i.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		for n, raw := range raws {
			m, err := s.GetMsg(t.Context(), uint64(n+1))
			if err != nil {
				t.Fatal(err)
			}
			ce, err := binding.ToEvent(t.Context(), cenats.NewMessage(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}))
			if err != nil {
				t.Fatalf("%s: %v", m.Subject, err)
			}
			if err := ce.Validate(); err != nil {
				t.Errorf("%s: %v", m.Subject, err)
			}
			want, err := events.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			got, err := events.Parse(*ce)
			if err != nil {
				t.Fatalf("%s: %v", m.Subject, err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b events.Key) bool { return a == b })); diff != "" {
				t.Errorf("%s (-published +read):\n%s", m.Subject, diff)
			}
		}
	}
}

func TestAsyncAPIIsAcceptedByTheOfficialParser(t *testing.T) {
	t.Parallel()
	said := node[struct {
		Version                        string
		Channels, Operations, Messages int
		Diagnostics                    []struct{ Code, Message, Path string }
	}](t, "asyncapi.mjs", absolute(t, "../../../schemas/asyncapi.yaml"))[0]
	for _, d := range said.Diagnostics {
		if d.Code != "asyncapi-latest-version" { // 3.0 is what is promised
			t.Errorf("%s: %s (%s)", d.Path, d.Message, d.Code)
		}
	}
	// One of each type, any event, command in three forms, result, dead letter; of each
	// endpoint a request and an answer, and what all of them refuse with.
	types, endpoints := 0, len(events.Endpoints())
	for range events.Types() {
		types++
	}
	type parts struct{ channels, operations, messages int }
	want := parts{types + 5 + 2*endpoints, types + 5 + endpoints, types + 5 + 2*endpoints + 1}
	if got := (parts{said.Channels, said.Operations, said.Messages}); !strings.HasPrefix(said.Version, "3.0.") || got != want {
		t.Errorf("it reads version %s with %+v, want %+v", said.Version, got, want)
	}
}
