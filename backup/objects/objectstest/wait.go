package objectstest

import (
	"context"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

// Impatient repeats calls without waiting, and gives up after some tries.
func Impatient(tries int) objects.RetryOptions {
	return objects.RetryOptions{Tries: tries, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
}

// NoRenewal is the Sleep of a pin that does not wait before a call is repeated, and
// renews no pin: until ctx ends it sleeps.
func NoRenewal(ctx context.Context, d time.Duration) error {
	if d > time.Second {
		<-ctx.Done()
	}
	return ctx.Err()
}
