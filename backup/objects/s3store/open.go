package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/quire-db/quire/backup/objects"
)

// Store is the objects.Store that is a bucket, or what lies below a prefix of
// one. It needs no Close: connections that nobody uses are closed after a minute
// and a half at most.
type Store struct {
	client *s3.Client
	opts   Options
	place  place
}

// Schemes are the stores of this package by scheme, "s3", to be merged with
// those of objects.Known.
func Schemes(opts Options) objects.Schemes {
	return objects.Schemes{"s3": func(ctx context.Context, u *url.URL) (objects.Store, error) {
		s, err := Open(ctx, u, opts)
		if err != nil {
			return nil, err
		}
		return s, nil
	}}
}

// Open opens the store at a URL; the package documentation has its parts. It reads
// the AWS environment and profiles, and asks nothing of the server.
func Open(ctx context.Context, u *url.URL, opts Options) (*Store, error) {
	p, err := parse(u)
	if err != nil {
		return nil, err
	}
	s := &Store{place: p, opts: opts}
	if err := s.open(ctx); err != nil {
		return nil, s.fail("open", "", err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	stall := func() time.Duration { return s.opts.Stall }
	cfg, err := config.LoadDefaultConfig(ctx, s.load, config.WithHTTPClient(httpClient(stall)))
	if err != nil {
		return fmt.Errorf("the AWS configuration cannot be loaded: %w", err)
	}
	s.opts = s.opts.withDefaults(cfg.RetryMaxAttempts)
	s.client = s3.NewFromConfig(cfg, s.configure)
	if s.client.Options().Region == "" {
		return errors.New("no region is known: set AWS_REGION, or write ?region=... behind the URL")
	}
	return nil
}

// load is what is asked of the AWS configuration. Warnings of the SDK would go to
// standard error, which belongs to the program.
func (s *Store) load(o *config.LoadOptions) error {
	o.Region = s.place.region
	o.Logger = logging.Nop{}
	return nil
}

// configure sets what differs from the SDK's defaults. Its retries are off: what
// one attempt may have done must be known when the next one fails (attempt.go).
// Its checksums are off: Put sends its own.
func (s *Store) configure(o *s3.Options) {
	o.Retryer = aws.NopRetryer{}
	o.RetryMaxAttempts = 0
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	if s.place.endpoint != "" {
		o.BaseEndpoint = &s.place.endpoint
	}
	own := o.BaseEndpoint != nil // also by AWS_ENDPOINT_URL
	o.UsePathStyle = own
	if s.place.pathStyle != nil {
		o.UsePathStyle = *s.place.pathStyle
	}
	if o.Region == "" && own {
		o.Region = "us-east-1" // such servers sign with any, and most with this
	}
}

// String is the store's URL.
func (s *Store) String() string { return s.place.String() }

func (s *Store) fail(call, key string, err error) error {
	return &objects.Error{Call: call, Store: s.String(), Key: key, Err: err}
}

// name is an object's key in the bucket.
func (s *Store) name(key string) *string { return aws.String(s.place.prefix + key) }
