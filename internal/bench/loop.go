//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// loopConfig is what the bare loop needs to know.
type loopConfig struct {
	natsURL, mxURL string
	inFlight       int
}

// Names of what the loop keeps on NATS.
const (
	loopPrefix   = "loop"
	loopCommands = "LOOP_COMMANDS"
	loopEvents   = "LOOP_EVENTS"
	loopBucket   = "LOOP_LAST"
	loopDurable  = "loop"
)

// loop is the bare loop: the worker that a team would write for itself. It is
// as good as it can be without the guards that make memberwatch what it is.
type loop struct {
	cfg    loopConfig
	client *http.Client
	js     jetstream.JetStream
	last   jetstream.KeyValue
}

// loopMember is what the loop reads of a member, and what it publishes.
type loopMember struct {
	GUID              string          `json:"guid"`
	UserGUID          string          `json:"user_guid"`
	Name              string          `json:"name"`
	ConnectionStatus  string          `json:"connection_status"`
	StatusMessage     string          `json:"connection_status_message"`
	Error             json.RawMessage `json:"error"`
	InstitutionCode   string          `json:"institution_code"`
	IsBeingAggregated bool            `json:"is_being_aggregated"`
	IsOAuth           bool            `json:"is_oauth"`
	AggregatedAt      *time.Time      `json:"aggregated_at"`
	SuccessfullyAt    *time.Time      `json:"successfully_aggregated_at"`
}

// loopEvent is what the loop publishes when the status is another than the last.
type loopEvent struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Type        string    `json:"type"`
	Source      string    `json:"source"`
	Time        time.Time `json:"time"`
	Data        struct {
		Member   loopMember `json:"member"`
		Previous string     `json:"previous"`
	} `json:"data"`
}

// loopStatus is what the loop remembers of a member.
type loopStatus struct {
	Status string    `json:"status"`
	At     time.Time `json:"at"`
}

// runLoop works until ctx ends.
func runLoop(ctx context.Context, cfg loopConfig, ready func()) error {
	nc, err := nats.Connect(cfg.natsURL, nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer nc.Close()
	l := &loop{
		cfg:    cfg,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: cfg.inFlight}},
	}
	if l.js, err = jetstream.New(nc); err != nil {
		return fmt.Errorf("using JetStream: %w", err)
	}
	consumer, err := l.prepare(ctx)
	if err != nil {
		return err
	}

	messages := make(chan jetstream.Msg)
	var workers sync.WaitGroup
	for range cfg.inFlight {
		workers.Go(func() {
			for m := range messages {
				l.handle(ctx, m)
			}
		})
	}
	consuming, err := consumer.Consume(func(m jetstream.Msg) { messages <- m }, jetstream.PullMaxMessages(2*cfg.inFlight))
	if err != nil {
		return fmt.Errorf("consuming: %w", err)
	}
	ready()
	<-ctx.Done()
	consuming.Stop()
	<-consuming.Closed()
	close(messages)
	workers.Wait()
	return nil
}

// prepare makes the streams, the bucket and the consumer.
func (l *loop) prepare(ctx context.Context) (jetstream.Consumer, error) {
	if _, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: loopCommands, Subjects: []string{loopPrefix + ".commands.>"}, Retention: jetstream.WorkQueuePolicy,
	}); err != nil {
		return nil, fmt.Errorf("creating %s: %w", loopCommands, err)
	}
	if _, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: loopEvents, Subjects: []string{loopPrefix + ".events.>"}, Duplicates: 2 * time.Minute,
	}); err != nil {
		return nil, fmt.Errorf("creating %s: %w", loopEvents, err)
	}
	var err error
	if l.last, err = l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: loopBucket}); err != nil {
		return nil, fmt.Errorf("creating %s: %w", loopBucket, err)
	}
	c, err := l.js.CreateOrUpdateConsumer(ctx, loopCommands, jetstream.ConsumerConfig{
		Durable: loopDurable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second,
		MaxAckPending: max(1000, 4*l.cfg.inFlight),
	})
	if err != nil {
		return nil, fmt.Errorf("creating consumer: %w", err)
	}
	return c, nil
}

func (l *loop) handle(ctx context.Context, m jetstream.Msg) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := l.refresh(ctx, m.Subject()); err != nil {
		_ = m.NakWithDelay(100 * time.Millisecond) // it comes again anyway
		return
	}
	_ = m.Ack() // else it comes again
}

// refresh reads the member that subject names and publishes a changed status.
func (l *loop) refresh(ctx context.Context, subject string) error {
	tokens := strings.Split(subject, ".") // loop.commands.member.refresh.<user>.<member>
	if len(tokens) != 6 {
		return fmt.Errorf("subject %q names no member", subject)
	}
	user, guid := tokens[4], tokens[5]
	member, err := l.read(ctx, user, guid)
	if err != nil {
		return err
	}

	var last loopStatus
	var revision uint64
	switch entry, err := l.last.Get(ctx, guid); {
	case err == nil:
		revision = entry.Revision()
		if err := json.Unmarshal(entry.Value(), &last); err != nil {
			return fmt.Errorf("decoding last status: %w", err)
		}
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("reading last status: %w", err)
	}
	if last.Status == member.ConnectionStatus {
		return nil
	}

	now := time.Now().UTC()
	// Two that read the same change make the same id, and the server drops one.
	event := loopEvent{
		SpecVersion: "1.0", ID: guid + "-" + strconv.FormatUint(revision, 10) + "-" + member.ConnectionStatus,
		Type: "member." + strings.ToLower(member.ConnectionStatus), Source: "/users/" + user + "/members/" + guid, Time: now,
	}
	event.Data.Member, event.Data.Previous = *member, last.Status
	body, err := json.Marshal(event)
	if err != nil {
		return fmt.Errorf("encoding event: %w", err)
	}
	to := loopPrefix + ".events." + event.Type + "." + user + "." + guid
	if _, err := l.js.Publish(ctx, to, body, jetstream.WithMsgID(event.ID)); err != nil {
		return fmt.Errorf("publishing event: %w", err)
	}
	status, err := json.Marshal(loopStatus{member.ConnectionStatus, now})
	if err != nil {
		return fmt.Errorf("encoding last status: %w", err)
	}
	if revision == 0 {
		_, err = l.last.Create(ctx, guid, status)
	} else {
		_, err = l.last.Update(ctx, guid, status, revision)
	}
	if err != nil {
		return fmt.Errorf("keeping last status: %w", err)
	}
	return nil
}

func (l *loop) read(ctx context.Context, user, guid string) (*loopMember, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.cfg.mxURL+"/users/"+user+"/members/"+guid, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("reading member: %w", err)
	}
	r.SetBasicAuth(simClientID, simAPIKey)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Version", "v20250224")
	answer, err := l.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reading member: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading member: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading member: %s", answer.Status)
	}
	var body struct {
		Member loopMember `json:"member"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, fmt.Errorf("decoding member: %w", err)
	}
	return &body.Member, nil
}
