package s3store

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// httpClient is the SDK's, so that AWS_CA_BUNDLE and proxies work, with
// connections that are given up when they stall. HTTP/2 is left out: there a
// connection that moves bytes says nothing about one request.
func httpClient(stall func() time.Duration) aws.HTTPClient {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watchedConn{Conn: conn, stall: stall()}, nil
		}
		t.TLSHandshakeTimeout = dialTimeout
		t.WriteBufferSize = writeBuffer
		t.ForceAttemptHTTP2 = false
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP1(true)
	})
}

// watchedConn fails when it has moved no byte for the time of stall. While a
// request is written, somebody already waits to read the answer: so each byte
// that moves in one direction is good for both.
type watchedConn struct {
	net.Conn
	stall time.Duration
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 && err == nil {
		err = c.extend()
	}
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	if err := c.extend(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		err = c.extend()
	}
	return n, err
}

func (c *watchedConn) extend() error { return c.SetDeadline(time.Now().Add(c.stall)) }
