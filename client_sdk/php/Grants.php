<?php

/**
 * Seals support access to the keys of the vendor's support team. Needs PHP 7.3 and ext-openssl, nothing else.
 *
 *     $keys = Grants::verifyKeys($signedList, $root);
 *     $sealed = Grants::seal($plaintext, $keys['keys'][0]['public_key'], ['product' => 'acme-billing',
 *         'installation' => '019a…', 'case' => '4711', 'key_id' => '2026w49-1a2b3c4d',
 *         'not_after' => '2026-12-06T12:00:00Z', 'notice' => '2018-04-17']);
 *
 * RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: what tests/wire/grants.json has
 * vectors of, and docs/support.md describes.
 */

declare(strict_types=1);

namespace LicenseTelemetry;

use InvalidArgumentException;
use RuntimeException;

final class Grants
{
    private const FORMAT = 'license-telemetry/grant/v1';
    private const KEYS_FORMAT = 'license-telemetry/support-keys/v1';
    private const BOUND = ['product', 'installation', 'case', 'key_id', 'not_after', 'notice'];
    private const SUITE = "\x00\x01";
    private const KEM_ID = "KEM\x00\x10";
    private const HPKE_ID = "HPKE\x00\x10\x00\x01\x00\x02";
    /** What stands before a point of P-256 in a SubjectPublicKeyInfo. */
    private const SPKI = '3059301306072a8648ce3d020106082a8648ce3d030107034200';

    /** The envelope: suite, encapsulated key, ciphertext and tag. `$publicKey`: a point, in base64url. */
    public static function seal(string $plaintext, string $publicKey, array $bound): string
    {
        $ephemeral = openssl_pkey_new([
            'private_key_type' => OPENSSL_KEYTYPE_EC,
            'curve_name' => 'prime256v1',
            'private_key_bits' => 384, // below PHP 8.5 an openssl.cnf without default_bits refuses an EC key
        ]);
        if ($ephemeral === false) {
            throw new RuntimeException('no key could be made: ' . openssl_error_string());
        }
        return self::sealWith($ephemeral, $plaintext, self::decoded($publicKey), self::info($bound));
    }

    /** The `info` of the seal: the format and what it is bound to, each after its length in two bytes. */
    public static function info(array $bound): string
    {
        $info = '';
        foreach (array_merge([self::FORMAT], array_map(static function (string $name) use ($bound): string {
            return $bound[$name];
        }, self::BOUND)) as $field) {
            $info .= pack('n', strlen($field)) . $field;
        }
        return $info;
    }

    /** The list of support keys, if the vendor's offline root has signed it. `$root`: its point, in base64url. */
    public static function verifyKeys(string $signedList, string $root): array
    {
        [$line, $signature] = explode("\n", trim($signedList), 2) + [1 => ''];
        $text = self::KEYS_FORMAT . "\n" . $line;
        $key = self::publicKey(self::decoded($root));
        if (openssl_verify($text, self::decoded($signature), $key, OPENSSL_ALGO_SHA256) !== 1) {
            throw new InvalidArgumentException("the list of support keys is not signed by the vendor's root key");
        }
        $found = json_decode($line, true);
        if (!is_array($found) || ($found['format'] ?? '') !== self::KEYS_FORMAT) {
            throw new InvalidArgumentException('this is no list of support keys');
        }
        return $found;
    }

    private static function sealWith($ephemeral, string $plaintext, string $recipient, string $info): string
    {
        $point = openssl_pkey_get_details($ephemeral)['ec'];
        $encapsulated = "\x04"; // PHP drops leading zeros of the coordinates
        foreach (['x', 'y'] as $name) {
            $encapsulated .= str_pad($point[$name], 32, "\0", STR_PAD_LEFT);
        }
        $shared = openssl_pkey_derive(self::publicKey($recipient), $ephemeral);
        if ($shared === false) {
            throw new InvalidArgumentException('this is no key of the support team');
        }
        $shared = str_pad($shared, 32, "\0", STR_PAD_LEFT);
        [$key, $nonce] = self::keySchedule($shared, $encapsulated . $recipient, $info);
        $sealed = openssl_encrypt($plaintext, 'aes-256-gcm', $key, OPENSSL_RAW_DATA, $nonce, $tag);
        if ($sealed === false) {
            throw new RuntimeException('it could not be sealed: ' . openssl_error_string());
        }
        return self::SUITE . $encapsulated . $sealed . $tag;
    }

    /** The key and the nonce of AES-256-GCM. RFC 9180, sections 4.1 and 5.1. */
    private static function keySchedule(string $shared, string $context, string $info): array
    {
        $secret = self::extract(self::KEM_ID, '', 'eae_prk', $shared);
        $secret = self::expand(self::KEM_ID, $secret, 'shared_secret', $context, 32);
        $context = "\x00" . self::extract(self::HPKE_ID, '', 'psk_id_hash', '')
            . self::extract(self::HPKE_ID, '', 'info_hash', $info);
        $secret = self::extract(self::HPKE_ID, $secret, 'secret', '');
        return [
            self::expand(self::HPKE_ID, $secret, 'key', $context, 32),
            self::expand(self::HPKE_ID, $secret, 'base_nonce', $context, 12),
        ];
    }

    private static function extract(string $suite, string $salt, string $label, string $input): string
    {
        return hash_hmac('sha256', 'HPKE-v1' . $suite . $label . $input, $salt, true);
    }

    /** At most 32 bytes: one block of HKDF. */
    private static function expand(string $suite, string $key, string $label, string $info, int $length): string
    {
        $labeled = pack('n', $length) . 'HPKE-v1' . $suite . $label . $info . "\x01";
        return substr(hash_hmac('sha256', $labeled, $key, true), 0, $length);
    }

    private static function publicKey(string $point)
    {
        $der = base64_encode(hex2bin(self::SPKI) . $point);
        $key = openssl_pkey_get_public("-----BEGIN PUBLIC KEY-----\n" . chunk_split($der, 64, "\n") . "-----END PUBLIC KEY-----\n");
        if ($key === false || strlen($point) !== 65) {
            throw new InvalidArgumentException('this is no point of P-256');
        }
        return $key;
    }

    private static function decoded(string $text): string
    {
        return (string) base64_decode(strtr($text, '-_', '+/'), false);
    }
}
