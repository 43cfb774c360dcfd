package s3store

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/quire-db/quire/backup/objects"
)

// List implements objects.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[objects.Item, error] {
	return func(yield func(objects.Item, error) bool) {
		l := lister{Store: s, prefix: prefix, yield: yield}
		if err := l.all(ctx); err != nil {
			yield(objects.Item{}, s.fail("list", prefix, err))
		}
	}
}

// lister is one List under way. One page, of 1,000 objects, is in memory.
type lister struct {
	*Store
	prefix string
	yield  func(objects.Item, error) bool
	ended  bool // yield returned false
}

func (l *lister) all(ctx context.Context) error {
	if err := objects.CheckPrefix(l.prefix); err != nil {
		return err
	}
	var token *string
	for {
		page, err := l.page(ctx, token)
		if err != nil {
			return err
		}
		if err := l.show(page); err != nil || l.ended || !aws.ToBool(page.IsTruncated) {
			return err
		}
		next := page.NextContinuationToken
		if aws.ToString(next) == "" || aws.ToString(next) == aws.ToString(token) {
			return lie("its list goes on, and it does not say where")
		}
		token = next
	}
}

func (l *lister) page(ctx context.Context, token *string) (page *s3.ListObjectsV2Output, err error) {
	in := &s3.ListObjectsV2Input{
		Bucket:            &l.place.bucket,
		Prefix:            l.name(l.prefix),
		ContinuationToken: token,
		EncodingType:      types.EncodingTypeUrl, // other people's keys may be no XML
	}
	err = l.try(ctx, func(ctx context.Context) error {
		page, err = l.client.ListObjectsV2(ctx, in)
		return err
	})
	if err == nil && page.IsTruncated == nil {
		// The SDK takes any answer without a list in it, such as none, for an empty list.
		err = lie("its list does not say whether it is complete")
	}
	return page, err
}

// show yields the objects of a page. Keys that no object has are nobody's:
// what a console makes for a folder, a file of notes.
func (l *lister) show(page *s3.ListObjectsV2Output) error {
	for _, o := range page.Contents {
		name, err := decode(aws.ToString(o.Key), page.EncodingType)
		if err != nil {
			return err
		}
		key, found := strings.CutPrefix(name, l.place.prefix)
		if !found || !strings.HasPrefix(key, l.prefix) {
			return lie("its list of %q has %q", l.prefix, name)
		}
		if objects.CheckKey(key) != nil {
			continue
		}
		if l.ended = !l.yield(objects.Item{Key: key, Size: aws.ToInt64(o.Size)}, nil); l.ended {
			return nil
		}
	}
	return nil
}

// decode returns a key of a list. A server that does not know of the encoding does
// not name it.
func decode(key string, encoding types.EncodingType) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return key, nil
	}
	name, err := url.QueryUnescape(key)
	if err != nil {
		return "", fmt.Errorf("its list has the key %q: %w", key, err)
	}
	return name, nil
}
