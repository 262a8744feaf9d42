package bus

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// errKeyChanged ends an attempt to connect whose first words name a key that is
// no longer in the file. The next attempt names the new one.
var errKeyChanged = errors.New("the key in NATS_NKEY_SEED_FILE has changed")

// seedFile authenticates with the key that is in a file when a connection is
// made, or made again. The client itself reads the seed each time, but names
// the public key that it found at first for ever (nats.go 1.55).
type seedFile struct {
	path string
	conn atomic.Pointer[nats.Conn] // nil until the first connection stands
}

// option is a [nats.Option].
func (f *seedFile) option(o *nats.Options) error {
	key, err := f.read()
	if err != nil {
		return err
	}
	defer key.Wipe()
	if o.Nkey, err = key.PublicKey(); err != nil {
		return fmt.Errorf("NATS_NKEY_SEED_FILE: %w", err)
	}
	if !nkeys.IsValidPublicUserKey(o.Nkey) {
		return fmt.Errorf("NATS_NKEY_SEED_FILE: %s holds no user's seed (SU…)", f.path)
	}
	o.SignatureCB = f.sign
	return nil
}

// sign is called under the lock of the connection, when it has decided which key
// to name: that is what allows it to name another one for the next attempt.
func (f *seedFile) sign(nonce []byte) ([]byte, error) {
	key, err := f.read()
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	if nc := f.conn.Load(); nc != nil {
		public, err := key.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY_SEED_FILE: %w", err)
		}
		if nc.Opts.Nkey != public {
			nc.Opts.Nkey = public
			return nil, errKeyChanged
		}
	}
	return key.Sign(nonce) //nolint:wrapcheck // The client does.
}

func (f *seedFile) read() (nkeys.KeyPair, error) {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("NATS_NKEY_SEED_FILE: %w", err)
	}
	defer clear(text)
	key, err := nkeys.ParseDecoratedNKey(bytes.TrimSpace(text))
	if err != nil {
		return nil, fmt.Errorf("NATS_NKEY_SEED_FILE: %s holds no seed of an nkey: %w", f.path, err)
	}
	return key, nil
}
