"""What clients ask of Windows itself, in `root/cimv2`: as far as they declare it."""

from hypercbt.lab.model.classes.declare import cim_class
from hypercbt.lab.wire.provider import CIMV2

CLASSES = (
    cim_class(
        "Win32_OperatingSystem",
        "Name",
        """
        string BootDevice; string BuildNumber; string BuildType; string Caption; string CodeSet; string CountryCode
        string CreationClassName; string CSCreationClassName; string CSDVersion; string CSName; sint16 CurrentTimeZone
        boolean DataExecutionPrevention_Available; boolean DataExecutionPrevention_32BitApplications
        boolean DataExecutionPrevention_Drivers; uint8 DataExecutionPrevention_SupportPolicy; boolean Debug
        string Description; boolean Distributed; uint32 EncryptionLevel; uint8 ForegroundApplicationBoost
        uint64 FreePhysicalMemory; uint64 FreeSpaceInPagingFiles; uint64 FreeVirtualMemory; datetime InstallDate
        uint32 LargeSystemCache; datetime LastBootUpTime; datetime LocalDateTime; string Locale; string Manufacturer
        uint32 MaxNumberOfProcesses; uint64 MaxProcessMemorySize; string[] MUILanguages; string Name
        uint32 NumberOfLicensedUsers; uint32 NumberOfProcesses; uint32 NumberOfUsers; uint32 OperatingSystemSKU
        string Organization; string OSArchitecture; uint32 OSLanguage; uint32 OSProductSuite; uint16 OSType
        string OtherTypeDescription; boolean PAEEnabled; string PlusProductID; string PlusVersionNumber
        boolean Primary; uint32 ProductType; string RegisteredUser; string SerialNumber
        uint16 ServicePackMajorVersion; uint16 ServicePackMinorVersion; uint64 SizeStoredInPagingFiles; string Status
        uint32 SuiteMask; string SystemDevice; string SystemDirectory; string SystemDrive; uint64 TotalSwapSpaceSize
        uint64 TotalVirtualMemorySize; uint64 TotalVisibleMemorySize; string Version; string WindowsDirectory
        """,
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_ComputerSystem",
        "Name",
        """
        uint16 AdminPasswordStatus; boolean AutomaticManagedPagefile; boolean AutomaticResetBootOption
        boolean AutomaticResetCapability; uint16 BootOptionOnLimit; uint16 BootOptionOnWatchDog
        boolean BootROMSupported; string BootupState; string Caption; uint16 ChassisBootupState
        string CreationClassName; sint16 CurrentTimeZone; boolean DaylightInEffect; string Description
        string DNSHostName; string Domain; uint16 DomainRole; boolean EnableDaylightSavingsTime
        uint16 FrontPanelResetStatus; boolean InfraredSupported; datetime InstallDate; uint16 KeyboardPasswordStatus
        string LastLoadInfo; string Manufacturer; string Model; string Name; string NameFormat
        boolean NetworkServerModeEnabled; uint32 NumberOfLogicalProcessors; uint32 NumberOfProcessors
        uint8[] OEMLogoBitmap; string[] OEMStringArray; boolean PartOfDomain; sint64 PauseAfterReset
        uint16 PCSystemType; uint16[] PowerManagementCapabilities; boolean PowerManagementSupported
        uint16 PowerOnPasswordStatus; uint16 PowerState; uint16 PowerSupplyState; string PrimaryOwnerContact
        string PrimaryOwnerName; uint16 ResetCapability; sint16 ResetCount; sint16 ResetLimit; string[] Roles
        string Status; string[] SupportContactDescription; uint16 SystemStartupDelay; string[] SystemStartupOptions
        uint8 SystemStartupSetting; string SystemType; uint16 ThermalState; uint64 TotalPhysicalMemory
        string UserName; uint16 WakeUpType; string Workgroup; boolean HypervisorPresent
        """,
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_ComputerSystemProduct",
        "IdentifyingNumber Name Version",
        """
        string Caption; string Description; string IdentifyingNumber; string Name; string SKUNumber; string UUID
        string Vendor; string Version
        """,
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_Processor",
        "DeviceID",
        """
        uint16 AddressWidth; uint16 Architecture; uint16 Availability; string Caption; uint32 ConfigManagerErrorCode
        boolean ConfigManagerUserConfig; uint16 CpuStatus; string CreationClassName; uint32 CurrentClockSpeed
        uint16 CurrentVoltage; uint16 DataWidth; string Description; string DeviceID; boolean ErrorCleared
        string ErrorDescription; uint32 ExtClock; uint16 Family; datetime InstallDate; uint32 L2CacheSize
        uint32 L2CacheSpeed; uint32 L3CacheSize; uint32 L3CacheSpeed; uint32 LastErrorCode; uint16 Level
        uint16 LoadPercentage; string Manufacturer; uint32 MaxClockSpeed; string Name; uint32 NumberOfCores
        uint32 NumberOfLogicalProcessors; string OtherFamilyDescription; string PNPDeviceID
        uint16[] PowerManagementCapabilities; boolean PowerManagementSupported; string ProcessorId
        uint16 ProcessorType; uint16 Revision; string Role; string SocketDesignation; string Status; uint16 StatusInfo
        string Stepping; string SystemCreationClassName; string SystemName; string UniqueId; uint16 UpgradeMethod
        string Version; uint32 VoltageCaps
        """,
        namespace=CIMV2,
    ),
    cim_class(
        "CIM_DataFile",
        "Name",
        """
        uint32 AccessMask; boolean Archive; string Caption; boolean Compressed; string CompressionMethod
        string CreationClassName; datetime CreationDate; string CSCreationClassName; string CSName; string Description
        string Drive; string EightDotThreeFileName; boolean Encrypted; string EncryptionMethod; string Extension
        string FileName; uint64 FileSize; string FileType; string FSCreationClassName; string FSName; boolean Hidden
        datetime InstallDate; uint64 InUseCount; datetime LastAccessed; datetime LastModified; string Manufacturer
        string Name; string Path; boolean Readable; string Status; boolean System; string Version; boolean Writeable
        """,
        namespace=CIMV2,
    ),
    cim_class(
        "Win32_ComputerSystemProcessor",
        "GroupComponent PartComponent",
        "ref GroupComponent; ref PartComponent",
        parents="CIM_ComputerSystemProcessor",
        namespace=CIMV2,
    ),
)
