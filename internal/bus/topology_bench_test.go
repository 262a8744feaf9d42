//go:build unix

package bus

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

// What messages that wait for their delay cost the server, and the others: run it
// before maxAckPending is changed. Each operation is a command that is stored, handed
// out and settled, every eighth with a delay. Afterwards as many are delayed in a
// second as would be if each that waits were tried again every five minutes.
//
//	go test ./internal/bus -run - -bench OthersWait -benchtime 500x
func BenchmarkACommandWhileOthersWait(b *testing.B) {
	for _, n := range []int{0, 20_000, 100_000, 200_000, 500_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) { commandWhileOthersWait(b, n) })
	}
}

const (
	together, delayed = 64, 8 // commands that are in hand together, and how many of them are delayed
	// As often as each of those that wait would be tried, in handfuls.
	everyFailing, pace = 5 * time.Minute, 15 * time.Millisecond
)

func commandWhileOthersWait(b *testing.B, n int) {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	srv := embeddedtest.Start(b)
	js, err := jetstream.New(embeddedtest.Connect(b, srv))
	must(err)
	_, err = js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "Q", Subjects: []string{"q"}, Retention: jetstream.WorkQueuePolicy})
	must(err)
	c, err := js.CreateConsumer(b.Context(), "Q", jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: n + 100_000,
	})
	must(err)
	fetch := func(n int, do func(jetstream.Msg) error) {
		b.Helper()
		for got := 0; got < n; {
			batch, err := c.Fetch(min(n-got, 1000))
			must(err)
			for m := range batch.Messages() {
				must(do(m))
				got++
			}
			must(batch.Error())
		}
	}
	body := []byte(body)
	before := heap()
	for stored := 0; stored < n; {
		var acks []jetstream.PubAckFuture
		for ; len(acks) < 1000 && stored < n; stored++ {
			ack, err := js.PublishAsync("q", body)
			must(err)
			acks = append(acks, ack)
		}
		<-js.PublishAsyncComplete()
		fetch(len(acks), func(m jetstream.Msg) error { return m.NakWithDelay(time.Hour) })
	}
	used := heap() - before
	cpu := spent(b)
	for b.Loop() {
		for range together {
			_, err := js.PublishAsync("q", body)
			must(err)
		}
		<-js.PublishAsyncComplete()
		fetched := 0
		fetch(together, func(m jetstream.Msg) error {
			if fetched++; fetched > together-delayed {
				return m.NakWithDelay(time.Hour)
			}
			return m.DoubleAck(b.Context())
		})
	}
	b.ReportMetric(float64(spent(b)-cpu)/float64(b.N*together)/1000, "µs-cpu/command")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*together), "µs/command")
	b.ReportMetric(float64(used)/(1<<20), "MB-heap")
	b.ReportMetric(size(b, srv.Config().StoreDir, "o.dat")/(1<<20), "MB-state")
	b.StopTimer()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	began, cpu := time.Now(), spent(b)
	for range 300 {
		<-tick.C
		again := int(time.Duration(n) * pace / everyFailing)
		for range again {
			_, err := js.PublishAsync("q", body)
			must(err)
		}
		<-js.PublishAsyncComplete()
		fetch(again, func(m jetstream.Msg) error { return m.NakWithDelay(time.Hour) })
	}
	b.ReportMetric(float64(spent(b)-cpu)/float64(time.Since(began)), "cores-for-tries")
}

// heap is what the process holds, the server in it.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// spent is the processor time of the process.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// size is how large the files of a name are in a directory.
func size(b *testing.B, dir, name string) (sum float64) {
	b.Helper()
	err := filepath.Walk(dir, func(_ string, f os.FileInfo, err error) error {
		if err == nil && f.Name() == name {
			sum += float64(f.Size())
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return sum
}
