"""The one typed configuration: defaults < profile < TOML file < environment < flags.

`sections` is everything that can be set, `presets` the profiles, `sources` where values are read,
and `validation` what is refused, and in which words. Nothing here loads OpenTelemetry.
"""

from debbie_otel.app.config.sections import Config as Config
from debbie_otel.app.config.sections import DialectsConfig as DialectsConfig
from debbie_otel.app.config.sections import LimitsConfig as LimitsConfig
from debbie_otel.app.config.sections import ProxyConfig as ProxyConfig
from debbie_otel.app.config.sections import TelemetryConfig as TelemetryConfig
from debbie_otel.app.config.sources import CAPTURE_CONTENT as CAPTURE_CONTENT
from debbie_otel.app.config.sources import config_of as config_of
from debbie_otel.app.config.sources import load_config as load_config
from debbie_otel.app.config.sources import load_dialects as load_dialects
