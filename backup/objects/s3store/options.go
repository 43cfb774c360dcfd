package s3store

import (
	"cmp"
	"time"
)

// Options of a Store. The zero value is the default.
type Options struct {
	// Attempts that a call makes at most, the first included. When 0, what
	// AWS_MAX_ATTEMPTS or the profile's max_attempts say, else DefaultAttempts.
	Attempts int
	// Backoff is the longest wait before the second attempt, and doubles with each
	// further one up to maxBackoff. A wait is a random half to all of it.
	// DefaultBackoff when 0.
	Backoff time.Duration
	// Stall is how long a connection may move no byte in either direction until
	// it is given up, with the attempt on it: the only limit to how long an
	// attempt takes, since 5 GiB may take hours. DefaultStall when 0.
	Stall time.Duration
}

// Defaults of Options. With these a call to a server that is not there ends within
// seconds, one to a server that hangs within five minutes.
const (
	DefaultAttempts = 5
	DefaultBackoff  = 200 * time.Millisecond
	DefaultStall    = time.Minute
)

const (
	maxBackoff  = 10 * time.Second
	dialTimeout = 10 * time.Second // for a connection, and for TLS on it
	writeBuffer = 64 << 10         // bytes of a body sent at a time
)

// MaxPrefix is the greatest length of a URL's prefix in bytes: with it and a slash
// a key of objects.MaxKey bytes fits the 1,024 of S3.
const MaxPrefix = 500

// withDefaults fills in what is 0; attempts is what the AWS configuration says.
func (o Options) withDefaults(attempts int) Options {
	o.Attempts = cmp.Or(max(0, o.Attempts), attempts, DefaultAttempts)
	o.Backoff = cmp.Or(max(0, o.Backoff), DefaultBackoff)
	o.Stall = cmp.Or(max(0, o.Stall), DefaultStall)
	return o
}
