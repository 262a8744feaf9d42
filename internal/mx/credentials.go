package mx

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keyCheckEvery is how often the key file is looked at. Reading it costs some 10 µs, so it is read as a whole: a
	// comparison of times would miss a change within the file system's resolution.
	keyCheckEvery = time.Second
	// maxKeyBytes bounds the key file; MX's keys have 40 characters.
	maxKeyBytes = 4 << 10
)

// credentials holds the request header that carries client id and key, and renews it when the key file changes.
type credentials struct {
	clientID string
	version  string
	file     string // empty: the key never changes
	now      func() time.Time

	checked atomic.Int64              // when the file was last looked at, Unix nanoseconds
	current atomic.Pointer[loginCard] // never nil, never modified once stored
	reading sync.Mutex                // held while reading the file
}

// loginCard is one key made ready. All requests share its header, which nobody modifies.
type loginCard struct {
	key    string
	basic  string // the Authorization header's token
	header http.Header
}

func newCredentials(c *Config, now func() time.Time) (*credentials, error) {
	cr := &credentials{clientID: c.ClientID, version: c.AcceptVersion, file: c.APIKeyFile, now: now}
	key := strings.TrimSpace(string(c.APIKey))
	if cr.file != "" {
		var err error
		if key, err = readKey(cr.file); err != nil {
			return nil, fmt.Errorf("reading MX_API_KEY_FILE: %w", err)
		}
		cr.checked.Store(now().UnixNano())
	}
	cr.current.Store(cr.card(key))
	return cr, nil
}

func (cr *credentials) card(key string) *loginCard {
	basic := base64.StdEncoding.EncodeToString([]byte(cr.clientID + ":" + key))
	return &loginCard{key: key, basic: basic, header: http.Header{
		"Accept":         {"application/json"},
		"Accept-Version": {cr.version},
		"Authorization":  {"Basic " + basic},
		"User-Agent":     {"memberwatch"},
	}}
}

// get returns the card to use. Once in keyCheckEvery one caller looks at the file first, while the others go on. A file
// that cannot be read leaves the last good key in use: a rotation replaces the file, and may be under way.
func (cr *credentials) get() *loginCard {
	if cr.file == "" {
		return cr.current.Load()
	}
	now, last := cr.now().UnixNano(), cr.checked.Load()
	if now-last >= int64(keyCheckEvery) && cr.checked.CompareAndSwap(last, now) {
		card, _ := cr.reload()
		return card
	}
	return cr.current.Load()
}

// reload reads the file and returns the card to use from now on; with an error that is the one before.
func (cr *credentials) reload() (*loginCard, error) {
	if cr.file == "" {
		return cr.current.Load(), nil
	}
	cr.reading.Lock()
	defer cr.reading.Unlock()
	card := cr.current.Load()
	key, err := readKey(cr.file)
	if err != nil {
		return card, fmt.Errorf("reading MX_API_KEY_FILE again: %w", err)
	}
	if key != card.key {
		card = cr.card(key)
		cr.current.Store(card)
	}
	return card, nil
}

// secrets returns what must never be shown.
func (cr *credentials) secrets() []string {
	card := cr.current.Load()
	return []string{card.basic, card.key, cr.clientID}
}

func readKey(file string) (string, error) {
	f, err := os.Open(file) //nolint:gosec // The operator names the file.
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyBytes+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxKeyBytes {
		return "", errors.New("file is too large for a key")
	}
	key := strings.TrimSpace(string(data))
	return key, checkKey(key)
}

// checkKey refuses what cannot be a key; the likeliest cause is a file or variable with more than the key in it.
func checkKey(key string) error {
	if key == "" {
		return errors.New("key is empty")
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("key holds a space, a line break or a character beyond ASCII, such as a byte order mark")
	}
	return nil
}
