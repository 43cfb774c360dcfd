package s3store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/s3store"
)

// fake is a server of the S3 kind with one bucket, in memory. It does what the
// protocol says, but for what a test makes it do.
type fake struct {
	server *httptest.Server
	mu     sync.Mutex
	has    map[string]held // mu; by key in the bucket
	calls  []string        // mu; method and key of each request

	overwrites bool         // it knows nothing of If-None-Match
	misbehave  misbehaviour // mu
}

// misbehaviour answers a request in the server's place and returns true, or
// leaves it to the server; n counts requests, from 1.
type misbehaviour func(w http.ResponseWriter, r *http.Request, n int) bool

// held is an object of a fake.
type held struct {
	data []byte
	put  string // the metadata
}

const bucket = "the-bucket"

// newFake starts a server and gives the environment what is needed to use it.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{has: map[string]held{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	credentials(t)
	return f
}

// credentials keeps the AWS environment and profiles of whoever runs the tests out.
func credentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "an-access-key", "AWS_SECRET_ACCESS_KEY": "a-secret-key", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_PROFILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
		"AWS_MAX_ATTEMPTS": "", "AWS_CA_BUNDLE": "", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func (f *fake) url() string { return "s3://" + bucket + "/below/this?endpoint=" + f.server.URL }

// quick does not wait between attempts.
var quick = s3store.Options{Attempts: 3, Backoff: time.Nanosecond}

func (f *fake) open(t *testing.T) objects.Store { return openURL(t, f.url(), quick) }

func openURL(t *testing.T, raw string, opts s3store.Options) objects.Store {
	t.Helper()
	s, err := objects.Open(background, raw, s3store.Schemes(opts))
	ok(t, err)
	return s
}

// act has the server misbehave from now on; nil ends it.
func (f *fake) act(m misbehaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.misbehave = m
}

// log has the requests so far.
func (f *fake) log() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, " ")
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	place, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.mu.Lock()
	f.calls = append(f.calls, r.Method)
	n := len(f.calls)
	misbehave := f.misbehave
	f.mu.Unlock()
	switch {
	case misbehave != nil && misbehave(w, r, n):
	case place != bucket:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodPut:
		f.put(w, r, key)
	case r.Method == http.MethodDelete:
		f.remove(key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		f.list(w, r.URL.Query())
	default:
		f.get(w, r, key)
	}
}

// refuse answers with an error of S3.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the server says %s</Message></Error>", code, code)
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, key string) {
	data, err := io.ReadAll(r.Body)
	if err != nil || int64(len(data)) != r.ContentLength {
		refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	crc := binary.BigEndian.AppendUint32(nil, objects.Checksum(0, data))
	sum := sha256.Sum256(data)
	signed := r.Header.Get("X-Amz-Content-Sha256")
	if r.Header.Get("X-Amz-Checksum-Crc32c") != base64.StdEncoding.EncodeToString(crc) ||
		signed != "UNSIGNED-PAYLOAD" && signed != hex.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "BadDigest")
		return
	}
	if !f.keep(key, held{data, r.Header.Get("X-Amz-Meta-Quire-Put")}, r.Header.Get("If-None-Match") == "*") {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	}
}

func (f *fake) keep(key string, o held, ifAbsent bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.has[key]; taken && ifAbsent && !f.overwrites {
		return false
	}
	f.has[key] = o
	return true
}

func (f *fake) remove(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.has, key)
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, key string) {
	f.mu.Lock()
	o, found := f.has[key]
	f.mu.Unlock()
	if !found {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("X-Amz-Meta-Quire-Put", o.put)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.data))
}

// listing is a page of a list.
type listing struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listedObject
}

type listedObject struct {
	Key  string
	Size int
}

const pageSize = 1000

func (f *fake) list(w http.ResponseWriter, q url.Values) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page := listing{EncodingType: q.Get("encoding-type")}
	var keys []string
	for key := range f.has {
		if strings.HasPrefix(key, q.Get("prefix")) && key > q.Get("continuation-token") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if page.IsTruncated = len(keys) > pageSize; page.IsTruncated {
		keys = keys[:pageSize]
		page.NextContinuationToken = keys[pageSize-1]
	}
	for _, key := range keys {
		page.Contents = append(page.Contents, listedObject{url.QueryEscape(key), len(f.has[key].data)})
	}
	_ = xml.NewEncoder(w).Encode(page) // the client will notice
}
