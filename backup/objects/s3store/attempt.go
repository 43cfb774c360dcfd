package s3store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// try makes attempts at a call until one succeeds, one fails in a way that another
// would, too, the context ends, or all are used up.
func (s *Store) try(ctx context.Context, attempt func(context.Context) error) error {
	if err := s.identify(ctx); err != nil {
		return err
	}
	for n, wait := 1, s.opts.Backoff; ; n, wait = n+1, min(2*wait, maxBackoff) {
		err := attempt(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ended(ctx, err)
		case n >= s.opts.Attempts || !isTransient(err):
			return err
		}
		if pause(ctx, wait) != nil {
			return ended(ctx, err)
		}
	}
}

// identify has credentials fetched, unless there are current ones. That makes its own
// attempts and is not part of ours: to find that there are none takes seconds, since
// the machine is asked for its role.
func (s *Store) identify(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := s.client.Options().Credentials.Retrieve(ctx); err != nil {
		err = fmt.Errorf("there are no AWS credentials (environment, profile, role): %w", err)
		if ctx.Err() != nil {
			return ended(ctx, err)
		}
		return err
	}
	return nil
}

// ended is the context's error, with what an attempt said.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return err
	}
	return because(ctx.Err(), err)
}

// pause waits for a random half to all of d, so that many who were refused at
// the same time do not come back together.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// errPermanent marks what no further attempt changes, whatever lies beneath.
type errPermanent struct{ error }

func (e errPermanent) Unwrap() error { return e.error }

// isTransient reports whether another attempt may succeed: the SDK's rules
// (connections, 500, 502, 503, 504, throttling), 408 and 429 of servers in between,
// and what S3 says of conditional writes and of bytes that were damaged on the way.
func isTransient(err error) bool {
	if errors.As(err, new(errPermanent)) {
		return false
	}
	code := status(err)
	return isConflict(err) || isDamage(err) || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests ||
		retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
}

// isConflict reports whether the server had another write of the key under way.
func isConflict(err error) bool {
	return isCode(err, "ConditionalRequestConflict") || isCode(err, "OperationAborted")
}

// isDamage reports whether the server found other bytes than the checksums say.
func isDamage(err error) bool {
	return isCode(err, "BadDigest") || isCode(err, "XAmzContentSHA256Mismatch")
}

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// status is the HTTP status that the server answered, 0 if there was no answer.
func status(err error) int {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) {
		return 0
	}
	return answer.HTTPStatusCode()
}

// isRefusal reports whether the server said that it changed nothing. What timed out
// somewhere (408) may have been done.
func isRefusal(err error) bool {
	code := status(err)
	return code >= 300 && code < 500 && code != http.StatusRequestTimeout || code == http.StatusNotImplemented
}

// withTrace calls connected when there is a connection for a request: before
// that, nothing can have been sent.
func withTrace(ctx context.Context, connected func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected() }})
}

// because is sentinel with the reason for it.
func because(sentinel, reason error) error { return fmt.Errorf("%w: %w", sentinel, reason) }
