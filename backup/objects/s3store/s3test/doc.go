// Package s3test runs a real server of the S3 kind for tests: versitygw, of
// https://github.com/versity/versitygw, on a directory.
//
//	raw := s3test.Start(t, s3test.Options{}).URL("prefix")
//	store, err := objects.Open(ctx, raw, s3store.Schemes(s3store.Options{}))
//
// The server's program is found by the environment variable QUIRE_VERSITYGW, and
// built with
//
//	GOBIN=/somewhere go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
//
// Earlier versions let two of several racing writers win. Tests that need it have
// the build tag s3, so that they are not compiled without it; .ci/run s3 does all
// this.
//
// A server listens on a free port of 127.0.0.1, keeps one bucket in a directory of
// the test's, and ends with the test. Its credentials and address are set in
// the environment, for processes that the test starts, too; what AWS settings
// the person who runs the tests has are kept out.
package s3test
