//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// scaleWorking is how many members are refreshed at each size: as many as the
// default STATE_CACHE remembers. The others only lie in the stream.
const scaleWorking = 10_000

// scaleRounds is how often each cost is measured at each size.
const scaleRounds = 3

// sizing is what one number of known members costs.
type sizing struct {
	Members       int     `json:"members"`
	Disk          float64 `json:"disk_bytes"`
	Fill          float64 `json:"fill_per_second"`       // events published to get there
	ServerMemory  float64 `json:"server_rss_bytes"`      // after a start and the work
	ServerStart   float64 `json:"server_start_seconds"`  // until it takes connections
	WorkerStart   float64 `json:"worker_start_seconds"`  // until it asks for commands
	WorkerMemory  float64 `json:"worker_peak_rss_bytes"` // after the work
	Remembered    cost    `json:"remembered"`
	FromTheStream cost    `json:"from_the_stream"`
}

// cost is what a command costs, in microseconds: a median of the rounds.
type cost struct {
	Wall   float64 `json:"wall_us"` // of the whole, with 64 in flight
	Worker float64 `json:"worker_cpu_us"`
	Server float64 `json:"server_cpu_us"`
}

// parseSizes reads the numbers of members of -scale.
func parseSizes(text string) (sizes []int, err error) {
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < scaleWorking {
			return nil, fmt.Errorf("-scale: %q is no number of members from %d on", field, scaleWorking)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// scale measures what known members cost, at each size with a server, a store
// and a worker of its own. Half of the commands find a change. Follow-ups are
// off, so that what is measured is commands.
func (b *bench) scale(ctx context.Context, sizes []int) ([]sizing, error) {
	b.settings = append([]string{"FOLLOW_UP_AFTER=0"}, b.settings...)
	var all []sizing
	for _, n := range sizes {
		begun := time.Now()
		s, err := b.sizing(ctx, n)
		if err != nil {
			return all, fmt.Errorf("%s members: %w", count(n), err)
		}
		all = append(all, *s)
		fmt.Fprintf(b.progress, "%s members: %.1f s\n", count(n), time.Since(begun).Seconds())
	}
	return all, nil
}

func (b *bench) sizing(ctx context.Context, members int) (s *sizing, err error) {
	c := memberwatch()
	c.follow = "" // off
	w, err := b.newWorld(ctx, c, b.size.inFlight, scaleWorking)
	if err != nil {
		return nil, err
	}
	defer w.closing(&err)
	if _, err := w.run(ctx, w.members, nil); err != nil {
		return nil, fmt.Errorf("seeding: %w", err)
	}
	s = &sizing{Members: members}
	if s.Fill, err = w.fill(ctx, members-scaleWorking); err != nil {
		return nil, fmt.Errorf("filling: %w", err)
	}
	if err := w.worker.stop(); err != nil {
		return nil, err
	}
	if err := w.restartNATS(ctx, s); err != nil {
		return nil, err
	}
	if s.Disk, err = diskUsage(filepath.Join(w.dir, "store")); err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := w.startWorker(ctx); err != nil {
		return nil, err
	}
	s.WorkerStart = time.Since(begun).Seconds()

	var cold, warm []cost
	for range scaleRounds {
		if err := w.restartWorker(ctx); err != nil {
			return nil, err
		}
		for _, into := range []*[]cost{&cold, &warm} {
			one, err := w.round(ctx)
			if err != nil {
				return nil, err
			}
			*into = append(*into, one)
		}
	}
	s.FromTheStream, s.Remembered = middle(cold), middle(warm)
	server, err := w.nats.memory()
	if err != nil {
		return nil, err
	}
	worker, err := w.worker.memory()
	if err != nil {
		return nil, err
	}
	s.ServerMemory, s.WorkerMemory = server.now, worker.peak
	return s, nil
}

// round flips half of the members and measures a command for each.
func (w *world) round(ctx context.Context) (cost, error) {
	if _, err := w.mx.flip(ctx); err != nil {
		return cost{}, err
	}
	p, err := w.run(ctx, w.members, nil)
	if err != nil {
		return cost{}, err
	}
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(p.commands) }
	return cost{Wall: each(p.took), Worker: each(p.worker), Server: each(p.server)}, nil
}

func middle(all []cost) cost {
	of := func(pick func(cost) float64) float64 {
		var values []float64
		for _, c := range all {
			values = append(values, pick(c))
		}
		return median(values)
	}
	return cost{
		of(func(c cost) float64 { return c.Wall }), of(func(c cost) float64 { return c.Worker }), of(func(c cost) float64 { return c.Server }),
	}
}

// fill publishes the first event of n members that MX will never be asked about:
// the event of one that is known, with other guids of the same length.
func (w *world) fill(ctx context.Context, n int) (perSecond float64, err error) {
	if n <= 0 {
		return 0, nil
	}
	stream, err := w.js.Stream(ctx, w.c.events)
	if err != nil {
		return 0, fmt.Errorf("looking at stream %s: %w", w.c.events, err)
	}
	of := w.members[0]
	pattern, err := stream.GetLastMsgForSubject(ctx, w.c.prefix+".events.member.*."+of.User+"."+of.Member)
	if err != nil {
		return 0, fmt.Errorf("reading an event: %w", err)
	}
	// Not all its headers: the ones that guarded it would act again.
	header := nats.Header{"Content-Type": pattern.Header["Content-Type"]}
	begun := time.Now()
	futures := make([]jetstream.PubAckFuture, 0, n)
	for i := range n {
		user, member := numbered(of.User, i/membersPerUser), numbered(of.Member, i)
		rename := strings.NewReplacer(of.User, user, of.Member, member)
		data := bytes.ReplaceAll(bytes.ReplaceAll(pattern.Data, []byte(of.User), []byte(user)), []byte(of.Member), []byte(member))
		f, err := w.js.PublishMsgAsync(&nats.Msg{Subject: rename.Replace(pattern.Subject), Header: header, Data: data},
			jetstream.WithStallWait(drainLimit))
		if err != nil {
			return 0, fmt.Errorf("publishing event: %w", err)
		}
		futures = append(futures, f)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return 0, fmt.Errorf("publishing event: %w", err)
		}
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// numbered replaces the end of a guid by a number that no guid of the simulator
// has there.
func numbered(guid string, n int) string {
	end := fmt.Sprintf("z%010d", n)
	return guid[:len(guid)-len(end)] + end
}

// restartNATS starts the server again on its store and notes how long that takes.
func (w *world) restartNATS(ctx context.Context, s *sizing) error {
	w.nc.Close()
	if err := w.nats.stop(); err != nil {
		return err
	}
	begun := time.Now()
	var err error
	w.nats, err = spawn(w.dir, "nats", w.self, []string{envRole + "=" + roleNATS, envStore + "=" + filepath.Join(w.dir, "store")})
	if err != nil {
		return err
	}
	if w.natsURL, err = w.nats.announced(ctx); err != nil {
		return err
	}
	s.ServerStart = time.Since(begun).Seconds()
	return w.connect()
}

// diskUsage is what the files below dir take.
func diskUsage(dir string) (bytes float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was there a moment ago
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			bytes += float64(info.Size())
		}
		return err //nolint:wrapcheck // Below.
	})
	if err != nil {
		return 0, fmt.Errorf("measuring store: %w", err)
	}
	return bytes, nil
}

// writeScale prints sizes beside each other; costs also as ratios to the first.
func writeScale(out io.Writer, all []sizing) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, value func(sizing) string) {
		cells := []string{fmt.Sprintf("%-50s", name)}
		for _, s := range all {
			cells = append(cells, value(s))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t")+"\t")
	}
	mega := func(v float64) string { return strconv.FormatFloat(v/1e6, 'f', 0, 64) }
	short := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
	line("known members", func(s sizing) string { return count(s.Members) })
	line("store on disk, MB", func(s sizing) string { return mega(s.Disk) })
	line("the same per member, bytes", func(s sizing) string { return count(int(s.Disk) / s.Members) })
	line("nats-server: start on the store, s", func(s sizing) string { return short(s.ServerStart) })
	line("nats-server: memory after the work, MB", func(s sizing) string { return mega(s.ServerMemory) })
	line("worker: start until it asks for commands, s", func(s sizing) string { return short(s.WorkerStart) })
	line("worker: peak memory (VmHWM), MB", func(s sizing) string { return mega(s.WorkerMemory) })
	for _, group := range []struct {
		name string
		of   func(sizing) cost
	}{
		{"remembered", func(s sizing) cost { return s.Remembered }},
		{"from the stream", func(s sizing) cost { return s.FromTheStream }},
	} {
		for _, part := range []struct {
			name string
			of   func(cost) float64
		}{
			{"time", func(c cost) float64 { return c.Wall }},
			{"worker CPU", func(c cost) float64 { return c.Worker }},
			{"nats-server CPU", func(c cost) float64 { return c.Server }},
		} {
			first := part.of(group.of(all[0]))
			line(group.name+": "+part.name+" per command, µs (ratio)", func(s sizing) string {
				v := part.of(group.of(s))
				return fmt.Sprintf("%.0f (%.2f×)", v, v/first)
			})
		}
	}
	_ = t.Flush()
}

// runScale is the bench with -scale.
func (b *bench) runScale(ctx context.Context, sizes []int, stdout io.Writer, jsonFile string) error {
	all, failed := b.scale(ctx, sizes)
	if len(all) > 0 {
		m := b.report.Machine
		fmt.Fprintf(stdout, "%d cores, %s, %s/%s; medians of %d rounds of %s commands, half of them changed, %d in flight, MX at once\n\n",
			m.Cores, m.Go, m.OS, m.Arch, scaleRounds, count(scaleWorking), b.size.inFlight)
		writeScale(stdout, all)
	}
	if failed != nil || jsonFile == "" {
		return failed
	}
	b.report.Scale = slices.Clone(all)
	text, err := b.report.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, text, 0o644); err != nil { //nolint:gosec // Meant to be read.
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}
