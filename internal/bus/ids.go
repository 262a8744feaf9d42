package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// IDs is the bucket of partners' own ids as package refresh needs it, with a
// bounded memory in front.
type IDs struct {
	kv  jetstream.KeyValue
	log *slog.Logger

	mu    sync.Mutex
	known *simplelru.LRU[string, events.Key] // by bucket key
}

var _ refresh.IDs = (*IDs)(nil)

// idMemory bounds how many pairs are remembered in the process; about 200 bytes each.
const idMemory = 10_000

func newIDs(kv jetstream.KeyValue, log *slog.Logger) *IDs {
	l, err := simplelru.NewLRU[string, events.Key](idMemory, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &IDs{kv: kv, log: log, known: l}
}

// idKey is the bucket key of a pair of ids as given. Ids hold no NUL.
func idKey(user, member string) string {
	sum := sha256.Sum256([]byte(user + "\x00" + member))
	return hex.EncodeToString(sum[:])
}

// guids is the bucket's value.
type guids struct {
	User   string `json:"user_guid"`
	Member string `json:"member_guid"`
}

// Lookup implements refresh.IDs. What cannot be looked up is not known.
func (i *IDs) Lookup(ctx context.Context, user, member string) (events.Key, bool) {
	id := idKey(user, member)
	i.mu.Lock()
	k, ok := i.known.Get(id)
	i.mu.Unlock()
	if ok {
		return k, true
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	e, err := i.kv.Get(ctx, id)
	if err != nil {
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			i.log.Debug("ids not looked up; MX will be asked", "error", err)
		}
		return events.Key{}, false
	}
	var g guids
	if err := json.Unmarshal(e.Value(), &g); err != nil {
		return events.Key{}, false
	}
	if k, err = events.NewKey(g.User, g.Member); err != nil {
		return events.Key{}, false
	}
	i.keep(id, k)
	return k, true
}

// Remember implements refresh.IDs. What cannot be stored is asked for again later.
func (i *IDs) Remember(ctx context.Context, user, member string, k events.Key) {
	id := idKey(user, member)
	i.keep(id, k)
	v, err := json.Marshal(guids{k.User(), k.Member()})
	if err != nil {
		return // Unreachable: two strings.
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := i.kv.Put(ctx, id, v); err != nil {
		i.log.Debug("ids not stored; MX will be asked again after a restart", "error", err)
	}
}

func (i *IDs) keep(id string, k events.Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.known.Add(id, k)
}
