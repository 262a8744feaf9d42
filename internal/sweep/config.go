package sweep

import (
	"fmt"
	"time"
)

// Config holds the setting of the periodic refresh.
type Config struct {
	RefreshEvery time.Duration `env:"REFRESH_EVERY, default=0" desc:"Read every known member again within this time, spread evenly; 0 never, at least 1m. The same for all workers."`
}

// minEvery is the shortest period. Steps come once a second at most, so that a
// shorter one would not be spread.
const minEvery = time.Minute

// Problems returns everything that is wrong with c, each naming the setting and the fix.
func (c *Config) Problems() []error {
	if c.RefreshEvery == 0 || c.RefreshEvery >= minEvery {
		return nil
	}
	return []error{fmt.Errorf("REFRESH_EVERY: %s; give 0 (never) or at least %s", c.RefreshEvery, minEvery)}
}
